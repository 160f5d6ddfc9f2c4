"""Which numbers of a graph are weights: those that training may change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_DATA = (0,)
WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "Add": (0, 1),  # a bias, or positions
    "BatchNormalization": (1, 2),  # not the statistics
    "Concat": tuple(range(8)),  # a class token before the patches
    "Conv": (1, 2),
    "Einsum": (0, 1),
    "Expand": _DATA,
    "Gather": _DATA,
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "Mul": (0, 1),  # a gain
    "PRelu": (1,),
    "Reshape": _DATA,
    "Slice": _DATA,
    "Transpose": _DATA,
    "Unsqueeze": _DATA,
}
"""Operator -> the inputs at which a stored tensor is a weight. Elsewhere it is a number of a formula."""


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes the same, where each stored tensor is either a weight or a number of a formula."""
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    _lift_constants(prepared.graph)
    _split_shared(prepared)
    return prepared


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Constants as initializers: some exporters keep weights in them, or hand equal ones on by `Identity`."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "Constant":
            stored[node.output[0]] = numpy_helper.from_array(_constant(node), node.output[0])
        elif node.op_type == "Identity" and node.input[0] in stored:
            stored[node.output[0]] = _renamed(stored[node.input[0]], node.output[0])
        else:
            kept.append(node)
    tensors = list(stored.values())
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)


def _renamed(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _split_shared(model: onnx.ModelProto) -> None:
    """Exporters keep equal tensors once: a bias of zeros must not drag along a mean of zeros."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = trainable(model)
    copied: set[str] = set()
    for node in model.graph.node:
        places = WEIGHT_INPUTS.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name in weights and place not in places:
                node.input[place] = f"{name}/fixed"
                copied.add(name)
    model.graph.initializer.extend(_renamed(stored[name], f"{name}/fixed") for name in sorted(copied))


def _constant(node: onnx.NodeProto) -> np.ndarray[Any, Any]:
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return np.asarray(numpy_helper.to_array(value))
    return np.array(value, np.float32 if attribute.name.startswith("value_float") else np.int64)


def trainable(model: onnx.ModelProto) -> dict[str, int]:
    """Names of the weights (float32, more than one number) -> index of the first node that uses each."""
    stored = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) > 1
    }
    found: dict[str, int] = {}
    for index, node in enumerate(model.graph.node):
        for name in weights_of(node):
            if name in stored:
                found.setdefault(name, index)
    return found


def weights_of(node: onnx.NodeProto) -> list[str]:
    """Names of the tensors that the node takes where weights stand."""
    places = WEIGHT_INPUTS.get(node.op_type, ())
    return [node.input[place] for place in places if place < len(node.input)]
