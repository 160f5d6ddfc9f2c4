"""How good is it? Out-of-fold predictions, and an estimate that admits what it does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from training.heldout import hold_out_each
from training.methods.base import Method, Problem, Setting

METRIC: dict[TaskName, Any] = {
    "classification": "accuracy",
    "regression": "rmse",
    "multilabel": "micro_f1",
}
ENOUGH: dict[TaskName, int] = {"classification": 3, "multilabel": 3, "regression": 10}
"""Examples of the least class (regression: of all) below which no interval is claimed."""
_INDEPENDENT: dict[TaskName, float] = {"classification": 1 / 2, "multilabel": 2 / 3, "regression": 1 / 2}
"""What an out-of-fold prediction is worth, in independent ones: those of a fold share a head."""
_LEAST_RESIDUALS = 10
"""n residuals cover n / (n + 1) of new ones at most: from fewer, an interval would promise too much."""
_KIND: dict[TaskName, str] = {
    "classification": "Jeffreys",
    "multilabel": "clustered Jeffreys",
    "regression": "log-normal",
}


@dataclass(frozen=True, eq=False)
class Evidence:
    """Out-of-fold predictions of one setting, for the tested rows, after the temperature was set."""

    setting: Setting
    problem: Problem  # the tested rows only
    logits: Scores
    factor: float
    repeats: tuple[Scores, ...] = ()  # the same by other divisions into folds: for comparing, not reporting

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Each tested row's own loss [m], the mean over all repetitions."""
        activation, targets = self.problem.activation, self.problem.targets
        return np.asarray(np.mean([losses(activation, found, targets) for found in self.all_logits], axis=0))

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
        """Each tested row's share of right answers [m], of its labels and of all repetitions."""
        if self.problem.task == "multilabel":
            right = [((found > 0) == (self.problem.targets > 0.5)).mean(axis=1) for found in self.all_logits]
        else:
            right = [found.argmax(axis=1) == self.problem.y for found in self.all_logits]
        return np.asarray(np.mean(right, axis=0), np.float64)

    @property
    def all_logits(self) -> tuple[Scores, ...]:
        """Those of every repetition, the reported one first."""
        return (self.logits, *self.repeats)


def cross_validate(method: Method, problem: Problem, grid: Sequence[Setting], folds: Folds) -> list[Evidence]:
    """Evidence of each setting of `grid`, in order; every fold is fitted once for the whole grid."""
    tested = problem.take(folds.tested)
    held_out = hold_out_each(method, problem, grid, (folds, *folds.repeats))
    found = [logits[:, folds.tested] for logits in held_out]
    return [make_evidence(grid[i], tested, [once[i] for once in found]) for i in range(len(grid))]


def make_evidence(setting: Setting, tested: Problem, found: Sequence[Scores]) -> Evidence:
    """From out-of-fold logits [m, C] of each repetition: one temperature for all of them."""
    targets = np.concatenate([tested.targets] * len(found))
    factor = temperature(tested.activation, np.concatenate(found), targets)
    first, *others = (logits * factor for logits in found)
    return Evidence(setting, tested, first, factor, tuple(others))


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

    Every interval is that of half as many tested examples (multilabel: two thirds), because out-of-fold
    predictions share their training data: with all of them, nominal 95 % covered the accuracy on the rest
    in 80 to 95 % of simulated draws, with half in 92 to 100 % (docs/benchmarks.md). With one or two
    examples of a class the value is biased by up to 20 points, and with less than ten numbers an error may
    be off by a factor of three: no interval is claimed.
    """
    task, n = evidence.problem.task, len(evidence.logits)
    if not n:
        how = "No class has two examples, so nothing could be held out."
        return Estimate(metric=METRIC[task], value=None, n=0, how=how, insufficient_evidence=True)
    how = f"{folds.count} stratified folds, {n} examples predicted out of fold"
    if least < ENOUGH[task]:
        whose = f"there are {least}" if task == "regression" else f"the least class has {least}"
        how += f"; no interval: {whose} example{'s' * (least != 1)}, {ENOUGH[task]} are needed"
        return Estimate(metric=METRIC[task], value=evidence.value, n=n, how=how, insufficient_evidence=True)
    low, high = _interval(evidence)
    how += f"; {_KIND[task]} interval as of {_INDEPENDENT[task]:.0%} as many, for they share training data"
    return Estimate(metric=METRIC[task], value=evidence.value, low=low, high=high, n=n, how=how)


def named_metrics(tasks: Mapping[str, Evidence]) -> dict[str, float]:
    """Every metric of each of several tasks, as `task.metric`."""
    return {f"{name}.{key}": value for name, it in tasks.items() for key, value in it.metrics.items()}


def half_width(evidence: Evidence) -> float | None:
    """Regression: half the width of the 95 % interval, from out-of-fold residuals; None from too few."""
    if evidence.problem.task != "regression" or len(evidence.logits) < _LEAST_RESIDUALS:
        return None
    residuals = np.abs(evidence.logits - evidence.problem.targets).max(axis=1)
    return metrics.conformal_half_width(residuals)


def _interval(evidence: Evidence) -> tuple[float, float]:
    problem, truth = evidence.problem, evidence.problem.targets
    worth = _INDEPENDENT[problem.task]
    if problem.task == "classification":
        right = evidence.logits.argmax(axis=1) == problem.y
        return metrics.jeffreys(right.sum() * worth, len(right) * worth)
    if problem.task == "regression":
        squared = ((evidence.logits - truth) ** 2).mean(axis=1)
        return metrics.rmse_interval(squared, len(squared) * worth)
    actual, predicted = truth > 0.5, evidence.scores > 0.5
    hits, claims = (actual & predicted).sum(axis=1), actual.sum(axis=1) + predicted.sum(axis=1)
    return metrics.f1_interval(hits, claims, worth)
