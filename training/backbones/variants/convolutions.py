"""Convolutions in int8, with the ranges of their activations fixed beforehand.

Activations are rounded where a convolution, or an addition between two, reads them (quantise and
dequantise pairs, which ONNX Runtime fuses into int8 kernels); their ranges are those of the calibration
examples, so an answer never depends on the batch. Weights have one scale a filter. The mean error that
rounding them leaves is taken out of the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2): it
lifted MobileNetV2's cosine to the original from 0.83 to 0.97.

A convolution that reads fewer than four channels stays in float32: it sees the input itself, costs little,
and rounding there cost `image/durian-small` a hundredth of its cosine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from training.backbones.variants.calibrate import Range
from training.backbones.variants.integers import EIGHT, SEVEN, along, rounded, scales
from training.backbones.variants.rewrite import Floats, Rewrite, attributes

FEWEST_CHANNELS = 4
LEVELS = 255
LARGEST_BIAS = 2.0**30
BETWEEN = ("Add", "MaxPool")
"""Operators that stay in int8 between two convolutions."""


def convolutions(graph: Rewrite) -> dict[str, str]:
    """The convolutions that become int8: name of their output -> tensor that they read [N, C, ...]."""
    found = (node for node in graph.nodes if node.op_type == "Conv")
    return {node.output[0]: node.input[0] for node in found if _fits(graph, node)}


def _fits(graph: Rewrite, node: onnx.NodeProto) -> bool:
    weight = _weight(graph, node)
    bias = len(node.input) < 3 or graph.weight(node.input[2], rank=1) is not None
    wide = weight is not None and (weight.shape[1] >= FEWEST_CHANNELS or _depthwise(node, weight))
    return bias and wide


def _weight(graph: Rewrite, node: onnx.NodeProto) -> Floats | None:
    """[filters, channels of a group, ...] of one or two dimensions, or None."""
    found = (graph.weight(node.input[1], rank) for rank in (3, 4))
    return next((weight for weight in found if weight is not None), None)


def _depthwise(node: onnx.NodeProto, weight: Floats) -> bool:
    return bool(1 < attributes(node).get("group", 1) == len(weight))


def joints(graph: Rewrite, chosen: Mapping[str, str]) -> list[str]:
    """The tensors to round: what the chosen convolutions read, and what joins them reads and gives."""
    inside, tensors = set(chosen), dict.fromkeys(chosen.values())
    for node in graph.nodes:
        if _joins(graph, node, inside):
            inside.add(node.output[0])
            tensors |= dict.fromkeys([*node.input, node.output[0]])
    return list(tensors)


def _joins(graph: Rewrite, node: onnx.NodeProto, inside: Collection[str]) -> bool:
    """Whether an operator reads what int8 convolutions give, and nothing constant."""
    if node.op_type not in BETWEEN or len(node.output) > 1 or any(map(graph.is_constant, node.input)):
        return False
    return any(name in inside for name in _behind(graph, list(node.input)))


def _behind(graph: Rewrite, names: list[str]) -> list[str]:
    """The tensors, and those that an activation function made them from."""
    made = [graph.maker[name] for name in names if name in graph.maker]
    return names + [node.input[0] for node in made if node.op_type in ("Relu", "Clip")]


def write_rounding(graph: Rewrite, tensor: str, seen: Range) -> None:
    """Round a tensor to the 256 levels of its range; from here on nodes read the rounded one."""
    step, zero = _levels(seen)
    levels = (graph.constant(f"{tensor}/step", step), graph.constant(f"{tensor}/zero", zero))
    integers = graph.node("QuantizeLinear", tensor, *levels)
    graph.rename(tensor, graph.node("DequantizeLinear", integers, *levels))


def _levels(seen: Range) -> tuple[np.float32, np.uint8]:
    step = np.float32((seen.high - seen.low) / LEVELS) or np.float32(1)
    return step, np.uint8(np.clip(round(-seen.low / float(step)), 0, LEVELS))


def write_convolution(graph: Rewrite, node: onnx.NodeProto, seen: Range) -> None:
    """Write the convolution over rounded weights and bias; what it reads was rounded before."""
    weight = graph.floats(node.input[1])
    top = EIGHT if _depthwise(node, weight) else SEVEN  # a depthwise kernel adds in 32 bits everywhere
    bias = graph.floats(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight), np.float32)
    read_step, _ = _levels(seen)
    step = np.maximum(scales(weight, 0, top), np.abs(bias) / (read_step * np.float32(LARGEST_BIAS)))
    integers = rounded(weight, step, 0, top)
    error = integers * along(step, 0, weight.ndim) - weight
    bias = bias - _response(error, seen.mean)
    graph.keep(
        node,
        graph.now(node.input[0]),
        _stored(graph, f"{node.output[0]}/weight", integers, step),
        _stored(graph, f"{node.output[0]}/bias", _to_int32(bias, read_step * step), read_step * step),
    )


def _response(weight: Floats, mean: Floats) -> Floats:
    """What each filter gives on an input that is `mean` [channels] everywhere."""
    filters, channels = weight.shape[:2]
    groups = len(mean) // channels
    filter_sums = weight.reshape(groups, filters // groups, channels, -1).sum(axis=-1)
    found = np.einsum("gfc,gc->gf", filter_sums, mean.reshape(groups, channels))
    return np.asarray(found.reshape(-1), np.float32)


def _to_int32(bias: Floats, step: Floats) -> NDArray[np.int32]:
    return np.round(bias / step).astype(np.int32)


def _stored(graph: Rewrite, name: str, integers: NDArray[Any], step: Floats) -> str:
    """Integers [channels, ...] kept as they are and read as floats."""
    return graph.node(
        "DequantizeLinear",
        graph.constant(name, integers),
        graph.constant(f"{name}/step", step),
        graph.constant(f"{name}/zero", np.zeros(len(step), integers.dtype)),
        axis=0,
    )
