"""A few lines over `onnx.helper`: write a graph node by node, get deterministic bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 10
Dims = Sequence[int | str]

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64
UINT8 = TensorProto.UINT8
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


class GraphWriter:
    """Collects nodes and constants; every method returns the name of the tensor it makes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self.parameters = 0  # floating-point weights of absorbed graphs

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """An initializer. Asking twice for one name must mean one value: the first stays."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def scalar(self, value: float) -> str:
        """A float32 constant of rank 0, shared by all who ask for it."""
        return self.constant(f"float_{value!r}", np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 vector (shapes, axes, bounds), shared likewise."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def int_list(self, name: str, values: Sequence[int]) -> str:
        """A longer int64 vector, under a name of its own."""
        return self.constant(name, np.array(values, np.int64))

    def absorb(self, graph: onnx.GraphProto, feeds: dict[str, str]) -> None:
        """Take over the nodes and weights of another graph, its inputs fed from tensors of this one."""
        self._constants.update((tensor.name, tensor) for tensor in graph.initializer)
        self.parameters += sum(math.prod(t.dims) for t in graph.initializer if t.data_type in FLOATS)
        for node in graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [feeds.get(name, name) for name in node.input]
            self._nodes.append(copy)

    def node(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """One operator with one output, named `out` or by its place in the graph."""
        name = out or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def to_bytes(
        self,
        name: str,
        inputs: dict[str, tuple[int, Dims]],
        outputs: dict[str, Dims],
        opset: int = OPSET,
    ) -> bytes:
        """The checked, serialised model. Inputs: name -> (element type, shape); outputs are float32.

        Equal graphs give equal bytes, so the digest of an export is stable.
        """
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(key, kind, dims) for key, (kind, dims) in inputs.items()],
            [helper.make_tensor_value_info(key, FLOAT, dims) for key, dims in outputs.items()],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="durian", ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return serialise(model)


def serialise(model: onnx.ModelProto) -> bytes:
    """Deterministic bytes of a model."""
    return bytes(model.SerializeToString(deterministic=True))


def count_parameters(graph: bytes) -> int:
    """Floating-point weights of a serialised model."""
    tensors = onnx.load_model_from_string(graph).graph.initializer
    return sum(math.prod(t.dims) for t in tensors if t.data_type in FLOATS)
