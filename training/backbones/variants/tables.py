"""Tables of embeddings in int8, with one scale a row: a quarter of the bytes, and as fast."""

from __future__ import annotations

import onnx

from training.backbones.graph import FLOAT
from training.backbones.variants.integers import EIGHT, rounded, scales
from training.backbones.variants.rewrite import Rewrite, attributes

FEWEST_ROWS = 1024


def is_table(graph: Rewrite, node: onnx.NodeProto) -> bool:
    """Whether the node looks up rows of a large constant table [rows, width]."""
    if node.op_type != "Gather" or attributes(node).get("axis", 0) != 0:
        return False
    table = graph.weight(node.input[0], rank=2)
    return table is not None and len(table) >= FEWEST_ROWS


def write_table(graph: Rewrite, node: onnx.NodeProto) -> None:
    """Write the look-up of rows as integers and of their steps."""
    name, where = node.output[0], graph.now(node.input[1])
    table = graph.floats(node.input[0])
    step = scales(table, 0, EIGHT)
    integers = graph.constant(f"{node.input[0]}/rows", rounded(table, step, 0, EIGHT))
    rows = graph.node("Cast", graph.node("Gather", integers, where), to=FLOAT)
    steps = graph.node("Gather", graph.constant(f"{node.input[0]}/step", step[:, None]), where)
    graph.node("Mul", rows, steps, out=name)
