"""Do intervals of 95 % cover? Many small draws of problems whose truth is known, all leave-one-out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from models.base import TaskName
from training import evaluate, metrics
from training.evaluate import Evidence, estimate
from training.folds import make_folds
from training.methods.base import Problem
from training.spectrum import Spectrum

DRAWS = 150
Array = NDArray[np.float64]


def classification(rng: np.random.Generator) -> tuple[Evidence, float]:
    """Nearest mean of two normal classes, 5 examples of each in 20 dimensions; the truth in closed form."""
    n, dim = 10, 20
    y = np.arange(n) % 2
    X = rng.normal(size=(n, dim))
    X[:, 0] += 2 * y - 1
    means = np.stack([X[y == c].mean(axis=0) for c in (0, 1)])
    away = ((X[:, None] - means) ** 2).sum(axis=2)
    away[np.arange(n), y] *= (5 / 4) ** 2  # from the mean of the four others
    normal, centre = means[1] - means[0], means.mean(axis=0)
    length = np.linalg.norm(normal)
    truth = np.mean([norm.cdf((normal[0] + s * -normal @ centre) / length) for s in (1, -1)])
    problem = Problem(X, y, "classification", ("a", "b"))
    return Evidence({}, problem, -away, 1.0), float(truth)


def linear(X: Array, Y: Array) -> tuple[Array, Array, Array]:
    """Ridge at penalty 1: left-out predictions, weights, intercepts."""
    centre = X.mean(axis=0)
    fitted = Spectrum.of_rows(X - centre, Y)
    weight = (X - centre).T @ fitted.dual(1.0)
    return fitted.leave_one_out(1.0), weight, fitted.mean - centre @ weight


def regression(rng: np.random.Generator) -> tuple[Evidence, float]:
    """Ridge on 20 examples in 10 dimensions, normal noise; the truth in closed form."""
    X = rng.normal(size=(20, 10))
    Y = X[:, :1] + rng.normal(size=(20, 1))
    left_out, weight, bias = linear(X, Y)
    wrong = weight[:, 0] - np.eye(10)[0]
    problem = Problem(X, Y, "regression", ("value",))
    return Evidence({}, problem, left_out, 1.0), float(np.sqrt(1 + wrong @ wrong + bias[0] ** 2))


def multilabel(rng: np.random.Generator) -> tuple[Evidence, float]:
    """Ridge on 30 examples with 4 labels in 8 dimensions; the truth from 2,000 more."""
    directions = np.random.default_rng(0).normal(size=(8, 4)) / np.sqrt(8)
    X = rng.normal(size=(2030, 8))
    Y = (X @ directions + 0.7 * rng.normal(size=(2030, 4)) > 0).astype(float)
    left_out, weight, bias = linear(X[:30], Y[:30])
    right = metrics.multilabel_metrics(Y[30:], X[30:] @ weight + bias)["micro_f1"]
    problem = Problem(X[:30], Y[:30], "multilabel", tuple("abcd"))
    return Evidence({}, problem, left_out - 0.5, 1.0), right


SIMULATED = {"classification": classification, "regression": regression, "multilabel": multilabel}


def coverage(task: TaskName) -> float:
    covered = 0
    for seed in range(DRAWS):
        evidence, truth = SIMULATED[task](np.random.default_rng(seed))
        found = estimate(evidence, make_folds(evidence.problem), 10)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    return covered / DRAWS


@pytest.mark.parametrize("task", SIMULATED)
def test_the_interval_covers_the_truth_but_not_by_saying_nothing(task: TaskName) -> None:
    assert 0.90 <= coverage(task) <= 0.99


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_counting_every_prediction_fully_would_boast(task: TaskName, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mutant that this file is there to catch: as if left-out predictions were independent.
    monkeypatch.setitem(evaluate._INDEPENDENT, task, 1.0)
    assert coverage(task) < 0.90


def test_a_perfect_fit_has_no_error_to_be_unsure_of() -> None:
    assert metrics.rmse_interval(np.zeros(12), 6) == (0.0, 0.0)


def test_the_error_interval_is_the_delta_method_by_hand() -> None:
    # 101 squared errors of mean 1 that vary as those of normal errors do: variance 2, and the prior agrees.
    squared = 1 + np.sqrt(2) * np.concatenate([np.ones(50), -np.ones(50), [0.0]])
    low, high = metrics.rmse_interval(squared, 1001)
    reach = 1.9623 * np.sqrt(2 / 1000 * 110 / 110) / 2
    assert (low, high) == pytest.approx((np.exp(-reach), np.exp(reach)), rel=1e-3)


def test_f1_of_one_claim_a_row_is_a_proportion() -> None:
    # Every row has one label and is given one: F1 is accuracy, and rows are worth themselves.
    hits = np.repeat([1, 0], [150, 50])
    found = metrics.f1_interval(hits, np.full(200, 2), 1.0)
    assert found == pytest.approx(metrics.jeffreys(150, 200), abs=2e-3)


def test_f1_without_a_mistake_is_not_certain() -> None:
    low, high = metrics.f1_interval(np.ones(20, int), np.full(20, 2), 0.5)
    assert (low, high) == metrics.jeffreys(10, 10)
    assert low < 0.85
