"""When not to adapt: rules that keep an adaptation from doing harm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.folds import Folds
from training.heads import AffineHead
from training.methods.base import Problem

Fit = Callable[[Problem], AffineHead]
_STEEPNESS = 0.7  # a shot: three more errors of the one turn nearly all the weight to the other
_MOSTLY_RIGHT = 0.5


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
