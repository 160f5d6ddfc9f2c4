"""A backbone's weights, in blocks from the bottom to the top: what lies between one tap and the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from models.cut import INPUT, weighted_above
from models.graphs import check_outputs
from training.graft.weights import prepare, trainable, weights_of


@dataclass(frozen=True)
class Block:
    """`weights` are names of initializers: the tail of a cut at `tap` has them, that of the next has not."""

    tap: str
    weights: tuple[str, ...]


def blocks(graph: bytes, taps: Sequence[str]) -> list[Block]:
    """The blocks between `taps`, given from the bottom (`models.cut.INPUT`, say) to the top tap.

    The top ends the last block and has none itself. Taps between which there are no weights make an
    empty block. A weight that several blocks share counts to the last of them. Raises ValueError for a
    tap that the graph does not have.
    """
    model = prepare(onnx.load_model_from_string(graph))
    check_outputs(model, {*taps} - {INPUT})
    above = [_weights_above(model, tap, taps[-1]) for tap in taps]
    return [
        Block(tap, tuple(name for name in own if name not in rest))
        for tap, own, rest in zip(taps, above, above[1:], strict=False)
    ]


def _weights_above(model: onnx.ModelProto, tap: str, top: str) -> list[str]:
    nodes = weighted_above(model, tap, top)
    known = trainable(model)
    names = (name for index in sorted(nodes) for name in weights_of(model.graph.node[index]))
    return list(dict.fromkeys(name for name in names if name in known))
