"""How well a cheap head does: ridge regression, each example predicted by the fit without it."""

from __future__ import annotations

import numpy as np

from models.recommendation import LeftOut
from training import metrics
from training.methods.base import Problem
from training.spectrum import Spectrum

_HALF = 0.5


def left_out(problem: Problem, spectrum: Spectrum) -> LeftOut | None:
    """Accuracy, rmse (in the units of the target) or micro-F1 of the least squares fit, by the hat matrix.

    `spectrum` is of the problem's centred rows and its targets; the penalty has the least leave-one-out
    error. A class's only example is not scored: the fit without it cannot know the class. None where
    nothing is left to score.
    """
    rows = scored(problem)
    if not rows.any():
        return None
    predicted = spectrum.leave_one_out(spectrum.best_penalty())[rows]
    truth, n = problem.targets[rows], int(rows.sum())
    if problem.task == "classification":
        right = predicted.argmax(axis=1) == truth.argmax(axis=1)
        return LeftOut(metric="accuracy", value=float(right.mean()), n=n)
    if problem.task == "multilabel":
        return LeftOut(metric="micro_f1", value=metrics.multilabel_metrics(truth, predicted)["micro_f1"], n=n)
    return LeftOut(metric="rmse", value=metrics.regression_metrics(truth, predicted)["rmse"], n=n)


def scored(problem: Problem) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Marks [n] the rows whose class (of multilabel: one of their labels, or no label) another row has."""
    if problem.task == "regression":
        return np.ones(len(problem), bool)
    shared = problem.targets.sum(axis=0) > 1
    return np.asarray((problem.targets[:, shared] > _HALF).any(axis=1) | ~problem.targets.any(axis=1))
