"""How good is it? Out-of-fold predictions, and an estimate that admits what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import TaskName
from models.report import Estimate
from training import metrics
from training.calibrate import losses, temperature
from training.folds import Folds
from training.heads import Scores, activate
from training.methods.base import Method, Problem, Setting

METRIC: dict[TaskName, Any] = {
    "classification": "accuracy",
    "regression": "rmse",
    "multilabel": "micro_f1",
}
_ENOUGH = 3  # examples of the least class below which no interval is claimed
_CORRELATED = 2  # out-of-fold predictions of n examples are worth n / 2 independent ones


@dataclass(frozen=True, eq=False)
class Evidence:
    """Out-of-fold predictions of one setting, for the tested rows, after the temperature was set."""

    setting: Setting
    problem: Problem  # the tested rows only
    logits: Scores
    factor: float

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Each tested row's own loss [m]."""
        return losses(self.problem.activation, self.logits, self.problem.targets)

    @cached_property
    def scores(self) -> Scores:
        """Probabilities or values, [m, C]."""
        return activate(self.problem.activation, self.logits)

    @property
    def loss(self) -> float | None:
        """Mean loss; None when nothing was tested."""
        return float(self.losses.mean()) if len(self.losses) else None

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every metric of the task, by name; empty when nothing was tested."""
        return task_metrics(self.problem, self.logits) if len(self.logits) else {}

    @property
    def value(self) -> float | None:
        """The task's main metric."""
        return self.metrics.get(METRIC[self.problem.task])

    @cached_property
    def hits(self) -> NDArray[np.float64]:
        """Each tested row's share of right answers [m]: 0 or 1, or the share of its labels."""
        if self.problem.task == "multilabel":
            return np.asarray(((self.scores > 0.5) == (self.problem.targets > 0.5)).mean(axis=1))
        return np.asarray(self.logits.argmax(axis=1) == self.problem.y, np.float64)


def cross_validate(method: Method, problem: Problem, grid: Sequence[Setting], folds: Folds) -> list[Evidence]:
    """Evidence of each setting of `grid`, in order; every fold is fitted once for the whole grid."""
    tested = problem.take(folds.tested)
    logits = np.zeros((len(grid), len(problem), problem.targets.shape[1]))
    for learn, predict in folds:
        held_out = problem.X[predict]
        for index, fitted in enumerate(method.fit(problem.take(learn), grid, rough=True)):
            logits[index, predict] = fitted.head.logits(held_out)
    return [
        _evidence(setting, tested, found[folds.tested]) for setting, found in zip(grid, logits, strict=True)
    ]


def _evidence(setting: Setting, tested: Problem, logits: Scores) -> Evidence:
    factor = temperature(tested.activation, logits, tested.targets)
    return Evidence(setting, tested, logits * factor, factor)


def task_metrics(problem: Problem, logits: Scores) -> dict[str, float]:
    """Every metric of the task for predictions [n, C] on a problem's rows."""
    if problem.task == "regression":
        return metrics.regression_metrics(problem.targets, logits)
    log_loss = float(losses(problem.activation, logits, problem.targets).mean())
    if problem.task == "multilabel":
        return {
            **metrics.multilabel_metrics(problem.targets, activate("sigmoid", logits)),
            "log_loss": log_loss,
        }
    return {"accuracy": float((logits.argmax(axis=1) == problem.y).mean()), "log_loss": log_loss}


def estimate(evidence: Evidence, folds: Folds, least: int) -> Estimate:
    """The main metric with a 95 % interval; `least` is the number of examples of the least class.

    Accuracy: Jeffreys' interval as if half as many examples had been tested, because out-of-fold
    predictions share their training data (with all of them, nominal 90 % covered only 70 to 90 %; with
    half, 93 to 100 %). Others: a bootstrap of the tested rows, half of them a draw. With one or two
    examples of a class the value is biased by up to 20 points, and no interval is claimed.
    """
    task, n = evidence.problem.task, len(evidence.logits)
    if not n:
        how = "No class has two examples, so nothing could be held out."
        return Estimate(metric=METRIC[task], value=None, n=0, how=how, insufficient_evidence=True)
    how = f"{folds.count} stratified folds, {n} examples predicted out of fold"
    if least < _ENOUGH:
        how += f"; no interval: the least class has {least} example{'s' * (least != 1)}, {_ENOUGH} are needed"
        return Estimate(metric=METRIC[task], value=evidence.value, n=n, how=how, insufficient_evidence=True)
    low, high = _interval(evidence)
    kind = "Jeffreys" if task == "classification" else "bootstrap"
    how += f"; {kind} interval at half as many, for they share training data"
    return Estimate(metric=METRIC[task], value=evidence.value, low=low, high=high, n=n, how=how)


def _interval(evidence: Evidence) -> tuple[float, float]:
    n, problem = len(evidence.logits), evidence.problem
    if problem.task == "classification":
        correct = float((evidence.logits.argmax(axis=1) == problem.y).mean())
        return metrics.jeffreys(correct * n / _CORRELATED, n / _CORRELATED)
    draw = max(2, n // _CORRELATED)
    return metrics.bootstrap(_row_statistic(evidence), n, draw, problem.seed)


def _row_statistic(evidence: Evidence) -> Any:
    """The main metric as a function of row numbers."""
    truth = evidence.problem.targets
    if evidence.problem.task == "regression":
        squared = ((evidence.logits - truth) ** 2).mean(axis=1)
        return lambda rows: np.sqrt(squared[rows].mean())
    predicted = evidence.scores > 0.5
    hits = ((truth > 0.5) & predicted).sum(axis=1)
    claims = (truth > 0.5).sum(axis=1) + predicted.sum(axis=1)
    return lambda rows: 2 * hits[rows].sum() / max(claims[rows].sum(), 1)
