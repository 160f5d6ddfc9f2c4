"""Discriminant analysis against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as reference
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tests.training_support import blobs
from training.heads import scores
from training.methods import METHODS
from training.methods.base import Problem
from training.methods.lda import ledoit_wolf

LDA = METHODS["lda"]


@pytest.mark.parametrize(("n", "dim"), [(50, 4), (8, 30)])
def test_shrinkage_is_scikit_learns(n: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    rows -= rows.mean(axis=0)
    assert ledoit_wolf(rows) == pytest.approx(reference(rows, assume_centered=True)[1])


def test_probabilities_are_scikit_learns() -> None:
    problem = blobs("classification", per_class=10)
    head = LDA.fit(problem, [{"shrinkage": 0.3}])[0].head
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(
        problem.X.astype(np.float64), problem.y
    )
    queries = problem.X.astype(np.float64) / 2
    np.testing.assert_allclose(scores(head, queries), model.predict_proba(queries), atol=1e-6)


def test_rare_class_is_less_likely_half_way() -> None:
    X = np.array([[-1.1], [-0.9], [-1.0], [-1.0], [1.1], [0.9]], np.float32)
    problem = Problem(X, np.array([0, 0, 0, 0, 1, 1]), "classification", ("a", "b"))
    often, rarely = scores(LDA.fit(problem, [{"shrinkage": "auto"}])[0].head, np.zeros((1, 1)))[0]
    assert often == pytest.approx(2 * rarely)


def test_one_example_a_class_is_nearest_example() -> None:
    problem = blobs("classification", per_class=1)
    head = LDA.fit(problem, [{"shrinkage": "auto"}])[0].head
    np.testing.assert_array_equal(head.logits(problem.X).argmax(axis=1), problem.y)
