"""Logistic regression against scikit-learn and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.training_support import blobs
from training.heads import scores
from training.lbfgs import minimise
from training.methods import METHODS
from training.methods.base import Problem

LOGISTIC = METHODS["logistic"]


def noisy(n: int, dim: int, classes: int, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = (rng.normal(size=(classes, dim))[y] + 1.5 * rng.normal(size=(n, dim))) / np.sqrt(dim)
    return Problem(X.astype(np.float32), y, "classification", tuple(map(str, range(classes))))


@pytest.mark.parametrize(("n", "dim", "classes"), [(60, 5, 4), (24, 40, 3), (40, 6, 2)])
def test_probabilities_are_those_of_scikit_learn(n: int, dim: int, classes: int) -> None:
    problem = noisy(n, dim, classes)
    grid = [{"C": C} for C in (10.0, 0.1, 1.0, 100.0)]
    for setting, fitted in zip(grid, LOGISTIC.fit(problem, grid), strict=True):
        model = LogisticRegression(C=setting["C"], tol=1e-9, max_iter=10_000)
        # Two classes: scikit-learn fits one difference of weights w, we fit w / 2 and -w / 2,
        # whose penalty is half as large.
        model.set_params(C=setting["C"] * (2 if classes == 2 else 1))
        expected = model.fit(problem.X.astype(np.float64), problem.y).predict_proba(problem.X)
        np.testing.assert_allclose(scores(fitted.head, problem.X), expected, atol=1e-4)


def test_multilabel_is_one_binary_model_a_label() -> None:
    problem = blobs("multilabel", seed=3)
    answers = scores(LOGISTIC.fit(problem, [{"C": 1.0}])[0].head, problem.X)
    for column in range(answers.shape[1]):
        model = LogisticRegression(C=1.0, tol=1e-9, max_iter=10_000)
        model.fit(problem.X.astype(np.float64), problem.y[:, column])
        np.testing.assert_allclose(answers[:, column], model.predict_proba(problem.X)[:, 1], atol=1e-4)


def test_gradient_vanishes_at_the_solution() -> None:
    problem = noisy(50, 4, 3)
    head = LOGISTIC.fit(problem, [{"C": 2.0}])[0].head
    residual = scores(head, problem.X) - problem.targets
    np.testing.assert_allclose(residual.T @ problem.X + head.weight / 2.0, 0, atol=1e-4)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-4)


def test_single_precision_is_used_for_large_problems_and_agrees() -> None:
    problem = noisy(400, 120, 50)
    head = LOGISTIC.fit(problem, [{"C": 10.0}])[0].head
    model = LogisticRegression(C=10.0, tol=1e-6, max_iter=10_000).fit(problem.X, problem.y)
    np.testing.assert_allclose(scores(head, problem.X), model.predict_proba(problem.X), atol=5e-4)


def test_rough_fits_of_large_problems_leave_out_dimensions_of_no_power() -> None:
    problem = noisy(400, 120, 50)
    faint = np.arange(120) % 3 == 0
    problem = replace(problem, X=problem.X * np.where(faint, 0.01, 1.0).astype(np.float32))
    exact, rough = (LOGISTIC.fit(problem, [{"C": 10.0}], rough=rough)[0].head for rough in (False, True))
    assert exact.weight[:, faint].any()
    assert not rough.weight[:, faint].any()
    assert rough.weight[:, ~faint].any(axis=0).mean() > 0.9
    np.testing.assert_allclose(scores(rough, problem.X), scores(exact, problem.X), atol=0.02)


def test_label_that_everybody_has_stays_finite() -> None:
    problem = blobs("multilabel")
    always = Problem(problem.X, np.ones((len(problem), 1)), "multilabel", ("a",))
    head = LOGISTIC.fit(always, [{"C": 10.0}])[0].head
    assert head.finite()
    assert scores(head, problem.X).min() > 0.99


def test_fixed_c_is_the_whole_grid() -> None:
    problem = noisy(20, 3, 2)
    assert LOGISTIC.info.hyperparameters.model_validate({"C": 3}).grid(problem) == [{"C": 3.0}]
    assert LOGISTIC.info.hyperparameters().grid(problem)[0] == {"C": 10.0}


def test_minimise_solves_a_quadratic() -> None:
    curvature, target = np.diag([1.0, 10.0, 100.0]), np.array([1.0, -2.0, 3.0])

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        gap = x - target
        return float(0.5 * gap @ curvature @ gap), curvature @ gap

    np.testing.assert_allclose(minimise(objective, np.zeros(3), 1e-9), target, atol=1e-8)
