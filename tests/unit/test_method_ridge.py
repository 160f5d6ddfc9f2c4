"""Ridge regression against scikit-learn and against leaving rows out for real."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from models.base import TaskName
from tests.training_support import blobs
from training.heads import scores
from training.methods import METHODS
from training.methods.base import Problem
from training.methods.ridge import Spectrum

RIDGE = METHODS["ridge"]


def random_problem(n: int, dim: int, seed: int = 1) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dim)).astype(np.float32) + 2
    return Problem(X, X[:, :2] @ rng.normal(size=(2, 2)) + rng.normal(size=(n, 2)), "regression", ("a", "b"))


@pytest.mark.parametrize(("n", "dim"), [(30, 4), (8, 20)])
def test_values_are_those_of_scikit_learn(n: int, dim: int) -> None:
    problem = random_problem(n, dim)
    expected = Ridge(alpha=0.7).fit(problem.X.astype(np.float64), problem.y).predict(problem.X)
    fitted = RIDGE.fit(problem, [{"penalty": 0.7}])[0]
    np.testing.assert_allclose(scores(fitted.head, problem.X), expected, atol=1e-6)


@pytest.mark.parametrize(("n", "dim"), [(12, 3), (7, 15)])
def test_leave_one_out_formula_is_leaving_one_out(n: int, dim: int) -> None:
    problem = random_problem(n, dim)
    formula = Spectrum.of(problem.X, problem.targets).leave_one_out(0.5)
    for row in range(n):
        rest = problem.take(np.arange(n) != row)
        model = Ridge(alpha=0.5).fit(rest.X.astype(np.float64), rest.y)
        np.testing.assert_allclose(formula[row], model.predict(problem.X[row : row + 1])[0], atol=1e-6)


def test_auto_takes_the_penalty_of_least_left_out_error() -> None:
    problem = random_problem(20, 5)
    spectrum = Spectrum.of(problem.X, problem.targets)
    chosen = RIDGE.fit(problem, [{"penalty": "auto"}])[0].setting["penalty"]

    def error(penalty: float) -> float:
        return float(((spectrum.leave_one_out(penalty) - problem.y) ** 2).sum())

    assert error(float(chosen)) == min(error(10.0**power) for power in range(-4, 4))


def test_one_feature_by_hand() -> None:
    # Centred: x = -1, 1 and y = -2, 2; w = xy / (xx + lambda) = 4 / (2 + 2) = 1, and b = 3 - 1 * 1.
    problem = Problem(np.array([[0], [2]], np.float32), np.array([[1.0], [5.0]]), "regression", ("value",))
    head = RIDGE.fit(problem, [{"penalty": 2.0}])[0].head
    np.testing.assert_allclose(head.weight, [[1.0]])
    np.testing.assert_allclose(head.bias, [2.0])


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_scores_separate_the_classes(task: TaskName) -> None:
    problem = blobs(task)
    answers = scores(RIDGE.fit(problem, [{"penalty": "auto"}])[0].head, problem.X)
    np.testing.assert_array_equal(answers > 0.5, problem.targets > 0.5)
