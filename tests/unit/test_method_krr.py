"""Kernel ridge regression against scikit-learn, and its choices against refits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from training.heads import scores
from training.kernel import median_distance, squared_distances
from training.methods import METHODS
from training.methods.base import Problem

KRR = METHODS["krr"]


def sine(n: int = 40) -> Problem:
    """A curve that no line follows."""
    x = np.linspace(-3, 3, n)[:, None].astype(np.float32)
    return Problem(x, np.sin(2 * x.astype(np.float64)) + 10, "regression", ("value",))


def centred_reference(problem: Problem, width: float, penalty: float) -> np.ndarray:
    """scikit-learn on the kernel matrix, centred as an unpenalised intercept asks for."""
    distances = squared_distances(problem.X, problem.X)
    gram = np.exp(-width / median_distance(distances) * distances)
    middle = np.eye(len(gram)) - 1 / len(gram)
    centred, mean = middle @ gram @ middle, problem.y.mean(axis=0)
    model = KernelRidge(alpha=penalty, kernel="precomputed").fit(centred, problem.y - mean)
    return np.asarray(model.predict(centred) + mean)


def test_values_are_those_of_scikit_learn() -> None:
    problem = sine()
    head = KRR.fit(problem, [{"gamma": 1.0, "penalty": 0.1}])[0].head
    np.testing.assert_allclose(scores(head, problem.X), centred_reference(problem, 1.0, 0.1), atol=1e-6)


def test_constant_is_not_shrunk() -> None:
    problem = sine()
    head = KRR.fit(problem, [{"gamma": 1.0, "penalty": 1e6}])[0].head
    np.testing.assert_allclose(scores(head, problem.X), problem.y.mean(), atol=1e-3)


def test_auto_bends_where_ridge_cannot() -> None:
    problem = sine()
    fitted = KRR.fit(problem, [{"gamma": "auto", "penalty": "auto"}])[0]
    linear = METHODS["ridge"].fit(problem, [{"penalty": "auto"}])[0]
    error, straight = (np.abs(scores(one.head, problem.X) - problem.y).max() for one in (fitted, linear))
    assert error < 0.05 < straight


@pytest.mark.parametrize("given", [{"gamma": 0.5, "penalty": "auto"}, {"gamma": "auto", "penalty": 0.01}])
def test_what_is_given_is_kept(given: dict[str, float | str]) -> None:
    found = KRR.fit(sine(), [dict(given)])[0].setting
    assert all(found[name] == value for name, value in given.items() if value != "auto")
    assert "auto" not in found.values()
