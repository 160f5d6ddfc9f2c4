"""Which waiting examples to run together, so that little of the batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def choose(sizes: Sequence[int], limit: int, run_cost: int) -> list[int]:
    """Rows to run as one batch: row 0, the oldest, and up to `limit - 1` others of about its size.

    Of all windows of the size-sorted rows that hold row 0, the one with the most useful work for its time,
    `sum(size) / (run_cost + n * max(size))`, where `run_cost` is what starting the graph costs, in sizes.
    The oldest is always among them, so nothing starves.
    """
    n = len(sizes)
    if min(sizes) == max(sizes):
        return list(range(min(n, limit)))
    size = np.asarray(sizes)
    order = np.argsort(size, kind="stable")
    place = int(np.flatnonzero(order == 0)[0])
    low = np.arange(max(0, place - limit + 1), place + 1)[:, None]
    high = np.arange(place, min(n, place + limit))[None, :]
    count = high - low + 1
    done = np.concatenate([[0], np.cumsum(size[order])])
    value = (done[high + 1] - done[low]) / (run_cost + count * size[order][high])
    best = int(np.argmax(np.where(count <= limit, value, 0.0)))
    i, j = np.unravel_index(best, value.shape)
    return [int(row) for row in order[low[i, 0] : high[0, j] + 1]]
