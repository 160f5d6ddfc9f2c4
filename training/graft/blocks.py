"""A backbone's weights, in blocks from the bottom to the top: what lies between one tap and the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import onnx

from models.cut import INPUT, weighted_above
from models.graphs import check_outputs
from training.graft.weights import prepare, trainable, weights_of

_LEAST = 0.1  # of the median block's numbers: less is no block of its own


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
    return _between(prepare(onnx.load_model_from_string(graph)), taps)


def main_way(graph: bytes, taps: Sequence[str], top: str) -> list[Block]:
    """The blocks on the way from the input to `top`: the longest row of taps, each above the one before.

    A tap beside that way, as of a branch that meets it again at the top, begins no block. What is far
    smaller than the others, a gain or a filter, belongs to the block below it (at the input: above).
    """
    model = prepare(onnx.load_model_from_string(graph))
    above = {tap: frozenset(_weights_above(model, tap, top)) for tap in (INPUT, *taps)}
    found = _between(model, [*_longest(above), top])
    numbers = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    sizes = [sum(numbers[name] for name in block.weights) for block in found]
    least = _LEAST * median(sizes) if sizes else 0
    return _joined(found, [size < least for size in sizes])


def _joined(found: Sequence[Block], small: Sequence[bool]) -> list[Block]:
    """Each small block as a part of the one below it; the lowest, where it is small, of the one above."""
    whole: list[Block] = []
    for index, block in enumerate(found):
        if index and (small[index] or all(small[:index])):
            whole[-1] = Block(whole[-1].tap, whole[-1].weights + block.weights)
        else:
            whole.append(block)
    return whole


def _between(model: onnx.ModelProto, taps: Sequence[str]) -> list[Block]:
    check_outputs(model, {*taps} - {INPUT})
    above = [_weights_above(model, tap, taps[-1]) for tap in taps]
    return [
        Block(tap, tuple(name for name in own if name not in rest))
        for tap, own, rest in zip(taps, above, above[1:], strict=False)
    ]


def _longest(above: Mapping[str, frozenset[str]]) -> list[str]:
    """The longest row of taps in which the weights above each are fewer and among those above the last."""
    best: dict[str, list[str]] = {}
    for tap in sorted((tap for tap in above if above[tap]), key=lambda tap: -len(above[tap])):
        before = [row for last, row in best.items() if above[tap] < above[last]]
        best[tap] = [*max(before, key=len, default=[]), tap]
    return max(best.values(), key=len, default=[])


def _weights_above(model: onnx.ModelProto, tap: str, top: str) -> list[str]:
    nodes = weighted_above(model, tap, top)
    known = trainable(model)
    names = (name for index in sorted(nodes) for name in weights_of(model.graph.node[index]))
    return list(dict.fromkeys(name for name in names if name in known))
