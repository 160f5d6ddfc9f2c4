"""A backbone's graph in int8, for the CPU: per-channel weights, no answer dependent on its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from models.errors import InvalidInput
from models.modalities.base import Feeds
from training.backbones.variants.calibrate import Place, Range, observe
from training.backbones.variants.convolutions import (
    convolutions,
    joints,
    write_convolution,
    write_rounding,
)
from training.backbones.variants.products import products, write_product
from training.backbones.variants.rewrite import Rewrite
from training.backbones.variants.tables import is_table, write_table

OLDEST_OPSET = 13  # scales of a channel each


def quantise(graph: bytes, feeds: Sequence[Feeds]) -> bytes:
    """The graph with its dense layers, convolutions and tables in int8.

    `feeds` are calibration examples, each a batch of one. Equal arguments give equal bytes. Raises
    InvalidInput: `opset`, or `nothing_to_quantise` where the graph has no layer that would gain.
    """
    new = Rewrite(graph, "int8/")
    if new.opset < OLDEST_OPSET:
        message = f"The graph's opset is {new.opset}, and int8 needs {OLDEST_OPSET}: export it with opset 17."
        raise InvalidInput(message, code="opset", param="id")
    dense, filters = products(new), convolutions(new)
    if not dense and not filters:
        message = "The backbone has no layer that int8 would make faster: use it as it is."
        raise InvalidInput(message, code="nothing_to_quantise", param="id")
    joined = joints(new, filters)
    seen = observe(graph, [(x, -1) for x in dict.fromkeys(dense.values())] + [(x, 1) for x in joined], feeds)
    for tensor in joined:
        if tensor not in new.maker:
            write_rounding(new, tensor, seen[tensor, 1])
    for node in new.nodes:
        _write(new, node, dense, filters, seen)
        for tensor in node.output:
            if tensor in joined:
                write_rounding(new, tensor, seen[tensor, 1])
    return new.to_bytes()


def _write(
    new: Rewrite,
    node: onnx.NodeProto,
    dense: Mapping[str, str],
    filters: Mapping[str, str],
    seen: Mapping[Place, Range],
) -> None:
    name = node.output[0]
    if name in dense:
        write_product(new, node, seen[dense[name], -1])
    elif name in filters:
        write_convolution(new, node, seen[filters[name], 1])
    elif is_table(new, node):
        write_table(new, node)
    else:
        new.keep(node)
