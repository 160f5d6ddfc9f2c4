"""How good on classes without examples? Leave seen classes out of training, some at a time, and ask.

Only examples of the left-out classes are predicted, and only among those classes: the situation the
model will be in. Examples of one class succeed and fail together, so the interval counts classes, not
examples: Jeffreys' interval at the number of classes left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.report import Estimate
from training import metrics
from training.calibrate import temperature
from training.evaluate import Evidence
from training.heads import Head, Scores
from training.methods.base import Problem, Setting

FitHead = Callable[[Problem, NDArray[np.int64]], Head]
"""(examples of the remaining classes, labelled as before; the classes to answer with) -> head."""

_FEWEST_TRAINED, _FEWEST_ASKED = 2, 2
_ENOUGH = 5  # classes left out, below which no interval is claimed
_NEVER = -30.0  # logit of a class that was not to choose from


def deal_classes(count: int, asked: int, seed: int) -> list[NDArray[np.int64]]:
    """Classes 0 to count - 1 in groups of about `asked`; none where too few would be left to learn from."""
    asked = max(_FEWEST_ASKED, min(asked, count - _FEWEST_TRAINED))
    groups = count // asked
    if count - asked < _FEWEST_TRAINED or groups < 1:
        return []
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(group) for group in np.array_split(order, groups)]


def leave_classes_out(problem: Problem, asked: int, fit: FitHead, setting: Setting) -> Evidence:
    """Evidence over the rows of every class that could be left out; empty where none could."""
    logits = np.full((len(problem), len(problem.labels)), _NEVER)
    tested = np.zeros(len(problem), bool)
    factors = []
    for group, rows in _groups(problem, asked):
        found = fit(problem.take(~rows), group).logits(problem.X[rows])
        factors.append(_factor(problem, rows, group, found))
        logits[np.ix_(rows, group)] = found * factors[-1]
        tested |= rows
    factor = float(np.exp(np.mean(np.log(factors)))) if factors else 1.0
    return Evidence(setting, problem.take(tested), logits[tested], factor)


def _groups(problem: Problem, asked: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    for group in deal_classes(len(problem.labels), asked, problem.seed):
        yield group, np.isin(problem.y, group)


def _factor(problem: Problem, rows: NDArray[np.bool_], group: NDArray[np.int64], logits: Scores) -> float:
    place = {int(c): i for i, c in enumerate(group)}
    inside = replace(
        problem.take(rows),
        y=np.array([place[int(c)] for c in problem.y[rows]]),
        labels=tuple(problem.labels[c] for c in group),
    )
    return temperature("softmax", logits, inside.targets)


def estimate_unseen(evidence: Evidence, asked: int) -> Estimate:
    """The accuracy on left-out classes with its interval."""
    n = len(evidence.logits)
    if not n:
        how = "Too few classes have examples, so none could be left out: the answers are unverified."
        return Estimate(metric="accuracy", value=None, n=0, how=how, insufficient_evidence=True)
    classes = len(np.unique(evidence.problem.y))
    how = f"{classes} classes left out of training, about {asked} at a time, and told apart without examples"
    if classes < _ENOUGH:
        return Estimate(metric="accuracy", value=evidence.value, n=n, how=how, insufficient_evidence=True)
    low, high = metrics.jeffreys((evidence.value or 0.0) * classes, classes)
    how += "; Jeffreys interval over classes, for examples of one class err together"
    return Estimate(metric="accuracy", value=evidence.value, low=low, high=high, n=n, how=how)
