"""Which waiting examples to run together, so that little of the batch is padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAIRS = 1_000
"""So many pairs of tokens in attention cost as much as one token in the dense layers: MiniLM-L6 on a CPU took
0.24 us a pair and 0.27 ms a token (docs/adr/0011)."""


def choose(sizes: Sequence[int], limit: int, run_cost: int, *, padded: bool = True) -> list[int]:
    """Rows to run as one batch: row 0, the oldest, and up to `limit - 1` others of about its size.

    Of all windows of the size-sorted rows that hold row 0, the one with the most useful work for its time,
    `sum(size) / (run_cost + sum(size) + waste)`. `run_cost` is what starting the graph costs, in sizes;
    the waste is `max(size) - size` of each example where they are padded to each other, and where only
    attention pads them, `(max(size)^2 - size^2) / PAIRS`. The oldest is always among them, so nothing
    starves.
    """
    n = len(sizes)
    if min(sizes) == max(sizes):
        return list(range(min(n, limit)))
    size = np.asarray(sizes)
    order = np.argsort(size, kind="stable")
    size = size[order]
    place = int(np.flatnonzero(order == 0)[0])
    low = np.arange(max(0, place - limit + 1), place + 1)[:, None]
    high = place + _ends(size[place : place + limit])[None, :]
    count = high - low + 1
    work = size if padded else size**2 / PAIRS
    waste = count * work[high] - _between(work, low, high)
    useful = _between(size, low, high)
    value = useful / (run_cost + useful + waste)
    best = int(np.argmax(np.where(count <= limit, value, 0.0)))
    i, j = np.unravel_index(best, value.shape)
    chosen: list[int] = order[low[i, 0] : high[0, j] + 1].tolist()
    return chosen


def _ends(sizes: NDArray[Any]) -> NDArray[np.intp]:
    """Where the last of each size is. A window always gains by one more of its largest size, be it for one of
    its smallest, so the best one ends there, or where the oldest leaves it no room."""
    return np.flatnonzero(np.append(sizes[1:] != sizes[:-1], True))


def _between(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Sums of `values[low : high + 1]`."""
    sums = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(sums[high + 1] - sums[low])
