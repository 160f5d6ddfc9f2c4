"""Where in a stranger's graph pooled features may be taken: the ends of its stages.

A place is a tensor that all the data passes, as the output of a block of a network does, that lies above a
layer with weights, and that a layer reads whose form tells which axis holds the channels. Of each resolution
the last one counts; a network of one resolution, as a transformer is, has one at each quarter of its places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx

from training.backbones.graph import FLOAT, Dims

FALL = 0.75  # a side this much shorter begins a stage; unpadded convolutions lose only a few pixels
QUARTERS = 4
FEW_STAGES = 3
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_FIRST = frozenset((*_POOLS, "Conv", "BatchNormalization", "InstanceNormalization"))
_LAST = frozenset(("LayerNormalization", "MatMul", "Gemm"))
_LAYERS = frozenset(("Conv", "ConvTranspose", "Gather", "Gemm", "LSTM", "GRU", "MatMul"))
_SHAPES = frozenset(("Shape", "Size"))


@dataclass(frozen=True)
class Place:
    """A tensor [N, C, ...] or, with `last`, [N, ..., C], and its share of the graph's steps."""

    tensor: str
    dims: Dims
    last: bool
    depth: float

    @property
    def channels(self) -> int:
        return int(self.dims[-1 if self.last else 1])

    @property
    def side(self) -> int | str:
        """Size along the first axis of space, time or tokens."""
        return self.dims[1 if self.last else 2]


def stage_ends(model: onnx.ModelProto, source: str, target: str) -> list[Place]:
    """The places between an input and an output of a model with inferred shapes, from the bottom up."""
    runs = list(_runs(list(_places(model, source, target))))
    ends = [run[-1] for run in runs]
    longest = max(runs, key=len, default=[])
    if len(ends) < FEW_STAGES and len(longest) >= QUARTERS:
        inner = [longest[len(longest) * quarter // QUARTERS - 1] for quarter in range(1, QUARTERS)]
        ends = sorted([*ends, *inner], key=lambda place: place.depth)
    return ends


def _runs(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Places of one resolution each, one after another."""
    run: list[Place] = []
    for place in places:
        if run and _shorter(place.side, run[0].side):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _shorter(side: int | str, before: int | str) -> bool:
    return isinstance(side, int) and isinstance(before, int) and side <= FALL * before


def _places(model: onnx.ModelProto, source: str, target: str) -> Iterator[Place]:
    nodes = model.graph.node
    shapes = {value.name: value for value in model.graph.value_info}
    readers: dict[str, set[str]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    begin = _first_layer(model.graph)
    for index, tensor in _passed(nodes, source, target):
        dims = _dims(shapes.get(tensor))
        last = _channels_last(readers.get(tensor, set()))
        if index < begin or last is None or len(dims) < 3 or not isinstance(dims[-1 if last else 1], int):
            continue
        yield Place(tensor, dims, last, (index + 1) / (len(nodes) + 1))


def _first_layer(graph: onnx.GraphProto) -> int:
    """Index of the first node that has a matrix or kernel of weights: before it, there is only the input."""
    stored = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    for index, node in enumerate(graph.node):
        if node.op_type in _LAYERS and stored.intersection(node.input):
            return index
    return len(graph.node)


def _passed(nodes: Sequence[onnx.NodeProto], source: str, target: str) -> Iterator[tuple[int, str]]:
    """Tensors that alone lead from the source to the target, and the indices of their nodes.

    What only tells the shape of the data is not data.
    """
    unread = Counter(name for node in nodes if node.op_type not in _SHAPES for name in set(node.input))
    unread[target] += 1
    alive = {source}
    for index, node in enumerate(nodes):
        read = alive.intersection(node.input)
        if not read or node.op_type in _SHAPES:
            continue
        unread.subtract(read)
        alive = {name for name in alive if unread[name] > 0}
        alive.update(name for name in node.output if unread[name] > 0)
        if len(alive) == 1 and (tensor := next(iter(alive))) in node.output:
            yield index, tensor


def _channels_last(readers: set[str]) -> bool | None:
    """By the layers that read a tensor; None where they do not tell, or disagree."""
    first, last = bool(readers & _FIRST), bool(readers & _LAST)
    return None if first == last else last


def _dims(value: onnx.ValueInfoProto | None) -> Dims:
    """Numbers where fixed, else names; none where unknown or not float32."""
    if value is None or value.type.tensor_type.elem_type != FLOAT:
        return ()
    return [d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in value.type.tensor_type.shape.dim]
