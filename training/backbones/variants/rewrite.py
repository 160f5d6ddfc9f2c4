"""A graph written anew: its nodes in order, each kept or replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.backbones.graph import FLOAT, serialise
from training.backbones.operators import opset_of

Floats = NDArray[np.float32]
_AXES_ARE_INPUT_SINCE = 18  # of ReduceMax


class Rewrite:
    """The nodes of a graph, and what becomes of them.

    Every name that is added begins with `prefix`, which no name of the graph does.
    """

    def __init__(self, graph: bytes, prefix: str) -> None:
        self.model = onnx.load_model_from_string(graph)
        self.nodes: list[onnx.NodeProto] = list(self.model.graph.node)
        self.maker = {output: node for node in self.nodes for output in node.output}
        self.opset = opset_of(self.model)
        self._prefix = prefix
        self._stored = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._added: dict[str, onnx.TensorProto] = {}
        self._written: list[onnx.NodeProto] = []
        self._renamed: dict[str, str] = {}

    def is_constant(self, name: str) -> bool:
        return name in self._stored

    def value(self, name: str) -> NDArray[Any] | None:
        """A constant of the graph, or None."""
        tensor = self._stored.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def weight(self, name: str, rank: int) -> Floats | None:
        """A float32 constant of the graph with so many axes, or None."""
        tensor = self._stored.get(name)
        if tensor is None or tensor.data_type != FLOAT or len(tensor.dims) != rank:
            return None
        return self.floats(name)

    def floats(self, name: str) -> Floats:
        """A float constant of the graph. Raises KeyError."""
        return np.asarray(numpy_helper.to_array(self._stored[name]), np.float32)

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """A new constant. Asking twice for one name must mean one value: the first stays."""
        name = self._prefix + name
        if name not in self._added:
            self._added[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def node(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Write a new node with one output, named `out` or by its place."""
        place = f"{self._prefix}{op.lower()}_{len(self._written)}"
        name = out or place
        self._written.append(helper.make_node(op, list(inputs), [name], name=place, **attributes))
        return name

    def largest(self, x: str) -> str:
        """The maximum over the last axis, which stays as one of length 1."""
        if self.opset < _AXES_ARE_INPUT_SINCE:
            return self.node("ReduceMax", x, axes=[-1], keepdims=1)
        return self.node("ReduceMax", x, self.constant("last", np.array([-1])), keepdims=1)

    def keep(self, node: onnx.NodeProto, *inputs: str) -> None:
        """Write a node of the graph as it is, reading what its inputs were renamed to, or `inputs`."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = inputs or [self.now(name) for name in node.input]
        self._written.append(copy)

    def rename(self, tensor: str, to: str) -> None:
        """From here on, nodes read `to` in place of `tensor`; the graph's outputs do not."""
        self._renamed[tensor] = to

    def now(self, tensor: str) -> str:
        """What a node reads in place of `tensor`."""
        return self._renamed.get(tensor, tensor)

    def to_bytes(self) -> bytes:
        """The checked graph, without the constants that nothing reads any more; deterministic."""
        read = {name for node in self._written for name in node.input}
        read |= {value.name for value in self.model.graph.output}
        stored = [tensor for name, tensor in {**self._stored, **self._added}.items() if name in read]
        graph = helper.make_graph(
            self._written,
            self.model.graph.name,
            list(self.model.graph.input),
            list(self.model.graph.output),
            stored,
        )
        model = helper.make_model(
            graph,
            opset_imports=list(self.model.opset_import),
            producer_name="durian",
            ir_version=self.model.ir_version,
        )
        onnx.checker.check_model(model)
        return serialise(model)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
