"""Prototypes by hand, and their left-out distances for real."""

from __future__ import annotations

import numpy as np

from tests.training_support import blobs
from training.heads import activate, scores
from training.methods import METHODS
from training.methods.base import Problem
from training.methods.prototypes import leave_one_out_distances

PROTOTYPES = METHODS["prototypes"]


def test_two_classes_on_a_line_by_hand() -> None:
    # Means 0 and 4. At x = 1 the squared distances are 1 and 9: p = 1 / (1 + exp(-0.5 * 8)).
    problem = Problem(
        np.array([[-1], [1], [4]], np.float32), np.array([0, 0, 1]), "classification", ("a", "b")
    )
    head = PROTOTYPES.fit(problem, [{"sharpness": 0.5}])[0].head
    np.testing.assert_allclose(scores(head, np.array([[1.0]]))[0, 0], 1 / (1 + np.exp(-4)))


def test_head_is_the_softmax_of_squared_distances() -> None:
    problem = blobs("classification")
    head = PROTOTYPES.fit(problem, [{"sharpness": 2.0}])[0].head
    means = np.stack([problem.X[problem.y == c].mean(axis=0) for c in range(3)])
    distances = ((problem.X[:, None] - means) ** 2).sum(axis=2)
    np.testing.assert_allclose(scores(head, problem.X), activate("softmax", -2 * distances), atol=1e-6)


def test_left_out_distances_are_leaving_one_out() -> None:
    problem = blobs("classification", per_class=3)
    means = np.stack([problem.X[problem.y == c].mean(axis=0) for c in range(3)])
    found = leave_one_out_distances(problem, means)
    for row in range(len(problem)):
        rest = problem.take(np.arange(len(problem)) != row)
        left = np.stack([rest.X[rest.y == c].mean(axis=0) for c in range(3)])
        np.testing.assert_allclose(found[row], ((problem.X[row] - left) ** 2).sum(axis=1), rtol=1e-4)


def test_one_example_a_class_is_enough() -> None:
    problem = blobs("classification", per_class=1)
    fitted = PROTOTYPES.fit(problem, [{"sharpness": "auto"}])[0]
    np.testing.assert_array_equal(fitted.head.logits(problem.X).argmax(axis=1), problem.y)
    assert np.isfinite(float(fitted.setting["sharpness"]))


def test_overlapping_classes_get_a_softer_temperature() -> None:
    rng = np.random.default_rng(0)
    tight = blobs("classification", per_class=20)
    loose = Problem(
        tight.X + rng.normal(size=tight.X.shape).astype(np.float32) * 2, tight.y, tight.task, tight.labels
    )
    soft, sharp = (
        float(PROTOTYPES.fit(p, [{"sharpness": "auto"}])[0].setting["sharpness"]) for p in (loose, tight)
    )
    assert soft < sharp
