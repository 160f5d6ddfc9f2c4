"""Out-of-fold predictions: every example answered by a head that had not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from training.heads import Scores

if TYPE_CHECKING:
    from training.folds import Folds
    from training.methods.base import Method, Problem, Setting


@runtime_checkable
class HoldsOut(Protocol):
    """A method that can tell its out-of-fold predictions for less than a fit a fold."""

    def hold_out(self, problem: Problem, grid: Sequence[Setting], folds: Folds) -> Scores:
        """As the function below."""
        ...


@runtime_checkable
class HoldsOutTogether(Protocol):
    """A method that fits the folds of several divisions at once, where that is faster."""

    def hold_out_together(
        self, problem: Problem, grid: Sequence[Setting], divisions: Sequence[Folds]
    ) -> list[Scores] | None:
        """As `hold_out` for each division; None where one fold after the other is as fast."""
        ...


def hold_out_each(
    method: Method, problem: Problem, grid: Sequence[Setting], divisions: Sequence[Folds]
) -> list[Scores]:
    """`hold_out` for each of several divisions of the same rows."""
    found = None
    if isinstance(method, HoldsOutTogether):
        found = method.hold_out_together(problem, grid, divisions)
    return found or [hold_out(method, problem, grid, folds) for folds in divisions]


def hold_out(method: Method, problem: Problem, grid: Sequence[Setting], folds: Folds) -> Scores:
    """Logits float64 [len(grid), n, C] of the tested rows (others 0); a fold is fitted once for the grid."""
    if isinstance(method, HoldsOut):
        return method.hold_out(problem, grid, folds)
    logits = np.zeros((len(grid), len(problem), problem.targets.shape[1]))
    for learn, predict in folds:
        held_out = problem.take(predict)
        for index, fitted in enumerate(method.fit(problem.take(learn), grid, rough=True)):
            logits[index, predict] = fitted.logits(held_out)
    return logits
