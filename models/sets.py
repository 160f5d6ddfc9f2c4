"""Prediction sets: which labels are in. One rule for training, which sets the threshold, and for serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def members(scores: NDArray[Any], threshold: Any) -> NDArray[np.bool_]:
    """bool [n, C]: labels with scores [n, C] of at least the threshold, and the likeliest always."""
    chosen = np.asarray(scores >= threshold)
    chosen[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return chosen


def sizes(rows: Sequence[Sequence[float]], threshold: float) -> list[int]:
    """How many `members` each row of scores has: the same rule by lists, for a few rows."""
    return [max(1, sum([score >= threshold for score in row])) for row in rows]
