"""Prediction sets that hold the right class nine times in ten, from out-of-fold scores.

A label is in the set when its score is at least the threshold (LAC: Sadinle, Lei, Wasserman 2019): what
the true class of all but a tenth of the examples reached out of fold. Every example was scored by a head
that had not seen it and that learnt from fewer, so the threshold errs on the careful side
(cross-conformal prediction: Vovk 2015).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import PredictionSets
from models.sets import members
from training.metrics import conformal_rank

LEVEL = 0.9
Array = NDArray[Any]


def fit_sets(scores: Array, y: Array, fold: Array) -> tuple[PredictionSets, dict[str, float]] | None:
    """The rule for out-of-fold `scores` [n, C] of true classes `y` [n], and what it gives.

    `set_coverage` and `set_size` are honest too: each fold's sets (`fold` int64 [n]) are those of the
    threshold that the other folds set. None when the examples are too few.
    """
    threshold = _threshold(scores, y)
    bounds = np.full(len(y), np.nan)
    for number in np.unique(fold):
        held_out = fold == number
        bounds[held_out] = _threshold(scores[~held_out], y[~held_out])
    if not np.isfinite([threshold, *bounds]).all():
        return None
    sets = members(scores, bounds[:, None])
    return PredictionSets(level=LEVEL, threshold=threshold), set_metrics(sets, y)


def set_metrics(sets: NDArray[np.bool_], y: Array) -> dict[str, float]:
    """Share of sets [n, C] that hold the true class, and their mean size."""
    right = sets[np.arange(len(y)), y]
    return {"set_coverage": float(right.mean()), "set_size": float(sets.sum(axis=1).mean())}


def _threshold(scores: Array, y: Array) -> float:
    """nan where the examples are too few."""
    rank = conformal_rank(len(y), LEVEL)
    if rank is None:
        return math.nan
    return float(np.sort(scores[np.arange(len(y)), y])[len(y) - rank])
