"""What the examples of a task put through a graph: the ranges that int8 has to hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from models.modalities.base import Feeds
from models.runtime import open_session
from training.backbones.graph import FLOAT
from training.backbones.variants.rewrite import Floats

Place = tuple[str, int]
"""A tensor of the graph, and the axis of its channels."""


@dataclass(frozen=True, eq=False)
class Range:
    """Of one tensor over all examples: its bounds (0 is always within), and of each channel the largest
    absolute value and the mean, [channels]."""

    low: float
    high: float
    largest: Floats
    mean: Floats


def observe(graph: bytes, places: Collection[Place], feeds: Iterable[Feeds]) -> dict[Place, Range]:
    """The ranges of tensors of a graph.

    `feeds` are examples, each a batch of its own, so that no padding is observed.
    """
    shown, names = _showing(graph, {name for name, _ in places})
    session = open_session(shown)
    seen: dict[Place, list[Range]] = {place: [] for place in places}
    for feed in feeds:
        values = {**feed, **dict(zip(names, session.run(names, feed), strict=True))}
        for name, axis in places:
            seen[name, axis].append(_range(np.asarray(values[name], np.float32), axis))
    return {place: _union(ranges) for place, ranges in seen.items()}


def _showing(graph: bytes, tensors: Collection[str]) -> tuple[bytes, list[str]]:
    """The graph with these tensors among its outputs, and the names of all of those."""
    model = onnx.load_model_from_string(graph)
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    for name in sorted(set(tensors) - known):
        model.graph.output.append(helper.make_tensor_value_info(name, FLOAT, None))
    return bytes(model.SerializeToString()), [value.name for value in model.graph.output]


def _range(values: Floats, axis: int) -> Range:
    rows = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
    return Range(
        low=min(0.0, float(rows.min(initial=0))),
        high=max(0.0, float(rows.max(initial=0))),
        largest=np.abs(rows).max(axis=0, initial=0),
        mean=rows.mean(axis=0, dtype=np.float64).astype(np.float32),
    )


def _union(ranges: list[Range]) -> Range:
    """Of all examples; the mean counts each example once."""
    return Range(
        low=min(r.low for r in ranges),
        high=max(r.high for r in ranges),
        largest=np.max([r.largest for r in ranges], axis=0),
        mean=np.mean([r.mean for r in ranges], axis=0, dtype=np.float32),
    )
