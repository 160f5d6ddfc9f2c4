"""A backbone's graph in float16, for the GPU; its inputs and taps stay as they are."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from models.errors import InvalidInput
from training.backbones.graph import FLOAT
from training.backbones.variants.rewrite import Rewrite

HALF = int(TensorProto.FLOAT16)
LARGEST, LEAST = 65504.0, 1e-4
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PASSING = """
    Abs Add AveragePool Clip Concat DepthToSpace Elu Erf Expand Flatten Gather Gelu HardSigmoid HardSwish
    Identity LeakyRelu Max MaxPool Min Mish Mul Neg PRelu Pad Relu Reshape Sigmoid Slice Softplus SpaceToDepth
    Split Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""
IN_HALF = frozenset((*LAYERS, *_PASSING.split()))
"""Layers and what passes their values on. The others keep float32: sums over many values, normalisation
and division, where eleven bits are too few."""


def halve(graph: bytes) -> bytes:
    """The graph with its layers and their weights in float16. Equal graphs give equal bytes.

    Raises InvalidInput (`nothing_to_halve`) where it has none.
    """
    new = _Halves(graph)
    if not any(new.fits(node) for node in new.graph.nodes if node.op_type in LAYERS):
        message = "The backbone has no layer that fp16 would make faster: use it as it is."
        raise InvalidInput(message, code="nothing_to_halve", param="id")
    for node in new.graph.nodes:
        new.write(node)
    return new.graph.to_bytes()


class _Halves:
    """The graph in the making: every float tensor has a name in float32, in float16, or both."""

    def __init__(self, graph: bytes) -> None:
        self.graph = Rewrite(graph, "fp16/")
        self.types = _types(self.graph.model)
        self.outputs = {value.name for value in self.graph.model.graph.output}
        self.made: set[str] = set()  # tensors that nodes give in float16
        self.half: dict[str, str] = {}
        self.single: dict[str, str] = {}

    def fits(self, node: onnx.NodeProto) -> bool:
        """Whether float16 can hold the node's constants, and it gives floats."""
        known = all(self.types.get(name) == FLOAT for name in node.output)
        return node.op_type in IN_HALF and known and all(map(self._holds, node.input))

    def _holds(self, name: str) -> bool:
        value = self.graph.value(name)
        if value is None or not np.issubdtype(value.dtype, np.floating):
            return True
        if value.size == 1 and 0 < abs(value.item()) < LEAST:  # a guard against division by zero
            return False
        return bool(np.abs(value).max(initial=0) <= LARGEST)

    def write(self, node: onnx.NodeProto) -> None:
        if not self.fits(node):
            self.graph.keep(node, *map(self._in_single, node.input))
            return
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for place, name in enumerate(node.output):
            copy.output[place] = self.half[name] = f"fp16/{name}"
            self.made.add(name)
        self.graph.keep(copy, *map(self._in_half, node.input))
        for name in self.outputs.intersection(node.output):
            self.single[name] = self.graph.node("Cast", self.half[name], out=name, to=FLOAT)

    def _in_half(self, name: str) -> str:
        if self.types.get(name) != FLOAT:
            return name
        if name not in self.half:
            value = self.graph.value(name)
            if value is None:
                self.half[name] = self.graph.node("Cast", name, to=HALF)
            else:
                self.half[name] = self.graph.constant(name, value.astype(np.float16))
        return self.half[name]

    def _in_single(self, name: str) -> str:
        if name in self.made and name not in self.single:
            self.single[name] = self.graph.node("Cast", self.half[name], to=FLOAT)
        return self.single.get(name, name)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor that can be told, by name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        found[value.name] = int(value.type.tensor_type.elem_type)
    return found
