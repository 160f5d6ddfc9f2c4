"""How the tensors inside a graph lie in memory: which of them can be taken apart into the batch's examples.

Shapes inside a graph are seldom written down, and a leading dimension alone does not tell whether
[16, 384] are 16 examples or 16 tokens. So the graph is run twice on random rows, and a second time on
some of the same rows: where the tensor of the fewer rows is a part of that of the more, it goes by rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.graphs import extract, open_inputs
from models.session import open_session

ROWS = 3
LENGTHS = (7, 5)
HUGE = 1e6  # masks add such numbers: they would hide all others
CLOSE = 1e-3
Tensor = NDArray[Any]
Feeds = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """A tensor that goes by examples: [N, *row], or [N * k, *row[1:]] with k = row[0] where `flat`.

    A dimension of a row is None where it changes with the length of the input; `size` is in bytes, of one
    row of the probe.
    """

    dtype: np.dtype[Any]
    row: tuple[int | None, ...]
    flat: bool
    size: int


def layouts(model: Any, names: Sequence[str]) -> dict[str, Layout]:
    """The layouts of those of the named tensors that go by examples."""
    run = _runner(model, names)
    feeds = random_feeds(model, LENGTHS[0])
    whole, other = run(feeds), run(random_feeds(model, LENGTHS[1]))
    part = run({name: value[1:] for name, value in feeds.items()})
    found = {name: _layout(whole[name], part[name], other[name]) for name in names}
    return {name: layout for name, layout in found.items() if layout is not None}


def random_feeds(model: Any, length: int) -> Feeds:
    """`ROWS` random rows of each input; free dimensions are `length`, and text is padded on the right."""
    draw = np.random.default_rng(0)
    return {value.name: _feed(value, length, draw) for value in open_inputs(model)}


def _feed(value: Any, length: int, draw: np.random.Generator) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    shape = [ROWS, *(dim.dim_value or length for dim in kind.shape.dim[1:])]
    if value.name == "attention_mask":
        # The first row's is not the mean of all: tokens without padding must not look like k an example.
        kept = np.array([[length], [length - 2], [length - 4]])
        return (np.arange(length) < kept).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return draw.normal(size=shape).astype(dtype)
    return draw.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _runner(model: Any, names: Sequence[str]) -> Callable[[Feeds], Feeds]:
    """Computes the named tensors, wherever in the graph they are, from feeds."""
    import onnx

    inputs = open_inputs(model)
    computed = [name for name in names if name not in {value.name for value in inputs}]
    part = extract(model, computed)
    part.graph.input.extend(inputs)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    session = open_session(part.SerializeToString())

    def run(feeds: Feeds) -> Feeds:
        return {**feeds, **dict(zip(computed, session.run(computed, feeds), strict=True))}

    return run


def _layout(whole: Tensor, part: Tensor, other: Tensor) -> Layout | None:
    """`part` is of the rows of `whole` but the first; `other` of rows of another length."""
    fold = _fold(whole, part)
    if fold is None:
        return None
    row = tuple(n if n == m else None for n, m in zip(whole.shape[1:], other.shape[1:], strict=True))
    if fold == 1 and len(whole) == len(other):
        return Layout(whole.dtype, row, flat=False, size=whole.nbytes // ROWS)
    if None in row or len(other) % ROWS:
        return None  # more than one length in a tensor of tokens
    first = fold if len(whole) == len(other) else None
    return Layout(whole.dtype, (first, *row), flat=True, size=whole.nbytes // ROWS)


def _fold(whole: Tensor, part: Tensor) -> int | None:
    """How many rows of the tensor belong to one example; None where they do not lie together."""
    if not whole.ndim or len(whole) % ROWS or not len(whole):
        return None
    fold = len(whole) // ROWS
    same = part.shape == (len(whole) - fold, *whole.shape[1:]) and _close(whole[fold:], part)
    return fold if same else None


def _close(one: Tensor, other: Tensor) -> bool:
    a, b = one.astype(np.float64), other.astype(np.float64)
    ordinary = np.abs(b[np.abs(b) < HUGE])
    scale = float(ordinary.mean()) if ordinary.size else 0.0
    return bool(np.allclose(a, b, rtol=CLOSE, atol=CLOSE * scale, equal_nan=True))
