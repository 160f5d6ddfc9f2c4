"""Prediction sets: which labels are in. One rule for training, which sets the threshold, and for serving."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray


def members(scores: NDArray[Any], threshold: Any) -> NDArray[np.bool_]:
    """bool [n, C]: labels with scores [n, C] of at least the threshold, and the likeliest always."""
    chosen = np.asarray(scores >= threshold)
    chosen[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return chosen


def leading(places: Sequence[int], scores: Sequence[float], threshold: float) -> list[int]:
    """The `members` of one row by its labels' places, the likeliest first, which is how they are given."""
    return [*places[:1], *takewhile(lambda place: scores[place] >= threshold, places[1:])]
