"""Dense layers in int8: Gemm and MatMul with constant weights.

Each row of the activations has a scale of its own, found when the graph runs, so that an example's answer
does not depend on its batch; `DynamicQuantizeLinear` would share one scale over all examples. Channels
with large values are made smaller first, and the weights that meet them larger (SmoothQuant, Xiao et al.
2022, arXiv:2211.10438, equation 4 with alpha 1/2). The mean error that rounding the weights leaves is
taken out of the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

import numpy as np
import onnx

from training.backbones.graph import FLOAT
from training.backbones.variants.calibrate import Range
from training.backbones.variants.integers import SEVEN, rounded, scales
from training.backbones.variants.rewrite import Floats, Rewrite, attributes

SMALLEST_SIDE = 64  # below, quantising the rows costs what the product saves
MIDDLE, STEPS = 128, 127
FLOOR = np.float32(1e-9)  # of a row's largest value: rows of zeros stay zeros
LEAST = np.float32(1e-5)  # of a channel's largest value, for the smoothing


def products(graph: Rewrite) -> dict[str, str]:
    """The layers that become int8: name of their output -> tensor of their activations [..., K]."""
    found = (node for node in graph.nodes if node.op_type in ("Gemm", "MatMul"))
    return {node.output[0]: node.input[0] for node in found if _fits(graph, node)}


def _fits(graph: Rewrite, node: onnx.NodeProto) -> bool:
    weight = graph.weight(node.input[1], rank=2)
    given = attributes(node)
    plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
    return plain and weight is not None and min(weight.shape) >= SMALLEST_SIDE


def write_product(graph: Rewrite, node: onnx.NodeProto, seen: Range) -> None:
    """Write the layer: y = row step * column step * (rows as integers @ weights as integers) + bias."""
    weight = _weight(graph, node)
    name = node.output[0]
    smooth = np.sqrt(np.maximum(seen.largest, LEAST) / np.maximum(np.abs(weight).max(axis=1), LEAST))
    smoothed = weight * smooth[:, None]
    step = scales(smoothed, 1, SEVEN)
    integers = rounded(smoothed, step, 1, SEVEN)
    rows, row_step = _rows(graph, node, smooth)
    middle = graph.constant("middle", np.uint8(MIDDLE))
    total = graph.node("MatMulInteger", rows, graph.constant(f"{name}/weight", integers), middle)
    value = graph.node("Mul", graph.node("Cast", total, to=FLOAT), row_step)
    column_step = graph.constant(f"{name}/step", step)
    if len(node.input) < 3:
        graph.node("Mul", value, column_step, out=name)
        return
    value = graph.node("Mul", value, column_step)
    shift = seen.mean @ (integers * step / smooth[:, None] - weight)
    graph.node("Add", value, _bias(graph, node, shift), out=name)


def _weight(graph: Rewrite, node: onnx.NodeProto) -> Floats:
    """[K, N]."""
    weight = graph.floats(node.input[1])
    return weight.T if attributes(node).get("transB", 0) else weight


def _rows(graph: Rewrite, node: onnx.NodeProto, smooth: Floats) -> tuple[str, str]:
    """The activations as uint8 around `MIDDLE`, and the step of each row [..., 1]."""
    x = graph.node("Mul", graph.now(node.input[0]), graph.constant(f"{node.output[0]}/smooth", 1 / smooth))
    top = graph.node("Max", graph.largest(graph.node("Abs", x)), graph.constant("floor", FLOOR))
    step = graph.node("Mul", top, graph.constant("share", np.float32(1 / STEPS)))
    scaled = graph.node("Div", x, step)
    one, middle = graph.constant("one", np.float32(1)), graph.constant("middle", np.uint8(MIDDLE))
    return graph.node("QuantizeLinear", scaled, one, middle), step


def _bias(graph: Rewrite, node: onnx.NodeProto, shift: Floats) -> str:
    bias = graph.weight(node.input[2], rank=1)
    if bias is None:
        return graph.now(node.input[2])
    return graph.constant(f"{node.output[0]}/bias", (bias - shift).astype(np.float32))
