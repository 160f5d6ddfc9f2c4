"""Nearest neighbours by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.heads import scores
from training.methods import METHODS
from training.methods.base import Problem

KNN = METHODS["knn"]
LINE = np.array([[0], [1], [4], [9]], np.float32)


def fit(problem: Problem, k: int, metric: str) -> np.ndarray:
    return KNN.fit(problem, [{"neighbours": k, "metric": metric}])[0].head


def test_votes_fall_to_zero_at_the_next_neighbour() -> None:
    # Query 0: squared distances 0, 1, 16, so with k = 2 the weights are 16/16.01 and 15/16.01 and the
    # third neighbour's is 0. One pseudo-neighbour votes as the set does: 1/2 each.
    problem = Problem(LINE, np.array([0, 1, 0, 1]), "classification", ("a", "b"))
    first, second = 16 / 16.01, 15 / 16.01
    expected = (first + 0.5) / (first + second + 1)
    np.testing.assert_allclose(scores(fit(problem, 2, "euclidean"), LINE[:1])[0, 0], expected, atol=1e-9)


def test_regression_is_nearly_the_neighbours_mean() -> None:
    problem = Problem(LINE, np.array([[1.0], [3.0], [0.0], [0.0]]), "regression", ("value",))
    first, second = 16 / 16.01, 15 / 16.01
    expected = (first * 1 + second * 3 + 0.01 * 1.0) / (first + second + 0.01)
    np.testing.assert_allclose(scores(fit(problem, 2, "euclidean"), LINE[:1]), [[expected]], atol=1e-9)


def test_cosine_ignores_length() -> None:
    X = np.array([[1, 0], [5, 0.1], [0, 1], [0.1, 7]], np.float32)
    head = fit(Problem(X, np.array([0, 0, 1, 1]), "classification", ("a", "b")), 2, "cosine")
    np.testing.assert_allclose(scores(head, X), scores(head, 100 * X), atol=1e-9)


def test_crossing_the_border_of_the_neighbourhood_is_smooth() -> None:
    problem = Problem(LINE, np.array([0, 1, 0, 1]), "classification", ("a", "b"))
    head = fit(problem, 1, "euclidean")
    below, above = scores(head, np.array([[0.5 - 1e-6], [0.5 + 1e-6]]))
    np.testing.assert_allclose(below, above, atol=1e-3)


def test_duplicates_with_two_labels_share_the_vote() -> None:
    X = np.array([[0], [0], [5]], np.float32)
    answers = scores(fit(Problem(X, np.array([0, 1, 1]), "classification", ("a", "b")), 2, "euclidean"), X)
    np.testing.assert_allclose(answers[0, 0], (1 + 1 / 3) / 3, atol=1e-3)


@pytest.mark.parametrize("n", [2, 3, 40])
def test_grid_fits_the_number_of_examples(n: int) -> None:
    problem = Problem(np.zeros((n, 1), np.float32), np.arange(n) % 2, "classification", ("a", "b"))
    grid = KNN.info.hyperparameters().grid(problem)
    assert {setting["metric"] for setting in grid} == {"cosine", "euclidean"}
    assert all(int(setting["neighbours"]) <= max(1, n // 2) for setting in grid)
