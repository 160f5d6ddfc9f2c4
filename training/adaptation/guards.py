"""When not to adapt: rules that keep an adaptation from doing harm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.folds import Folds
from training.heads import AffineHead
from training.kernel import squared_distances
from training.methods.base import Problem

Array = NDArray[np.float64]
Fit = Callable[[Problem], AffineHead]
_STEEPNESS = 0.7  # a shot: three more errors of the one turn nearly all the weight to the other
_MOSTLY_RIGHT = 0.5
_MOST_RANKED, _RANK_ERRORS = 1000, 2.0


def pool_share(target_errors: float, pooled_errors: float) -> float:
    """What the pooled head weighs beside the target's own, from their errors on the same target rows.

    The soft guard: sigmoid(0.7 (errors of the target's own - errors of the pooled)), half and half at par.
    """
    return float(0.5 * (1 + np.tanh(_STEEPNESS / 2 * (target_errors - pooled_errors))))


def one_shot_share(source_hits: float) -> float:
    """The same where the target has too few rows to hold any out: all or nothing, by whether the source's
    own head gets at least half of them right."""
    return float(source_hits >= _MOSTLY_RIGHT)


def held_out_errors(fit: Fit, problem: Problem, folds: Folds) -> float:
    """How many of a classification problem's tested rows are wrong by heads that had not seen them."""
    wrong = 0
    for learn, predict in folds:
        logits = fit(problem.take(learn)).logits(problem.X[predict])
        wrong += int((logits.argmax(axis=1) != problem.y[predict]).sum())
    return float(wrong)


def stands_apart(source: Array, target: Array, seed: int = 0) -> bool:
    """Whether the target [m, D] lies outside the source [s, D], so that something is left to bring together.

    A target row's distance to its nearest source row is ranked among the source rows' distances to each
    other: the mean rank of rows from within the source is one half, and must be exceeded by two standard
    errors (Mann and Whitney 1947). A target that lies within the source, as a biased selection or other
    proportions of the classes leave it, has other means too, but moving it would do harm.
    """
    rng = np.random.default_rng(seed)
    source, target = (rows[rng.permutation(len(rows))[:_MOST_RANKED]] for rows in (source, target))
    if len(source) < 2:
        return False
    among = squared_distances(source, source)
    np.fill_diagonal(among, np.inf)
    nearest = squared_distances(target, source).min(axis=1)
    ranks = np.searchsorted(np.sort(among.min(axis=1)), nearest) / len(source)
    error = np.sqrt((1 / len(source) + 1 / len(target)) / 12)
    return bool(ranks.mean() > 0.5 + _RANK_ERRORS * error)
