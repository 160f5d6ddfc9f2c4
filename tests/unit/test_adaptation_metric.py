"""Metric learning from pairs, and which predictions to believe."""

from __future__ import annotations

import numpy as np

from training.adaptation.itml import learn_metric
from training.adaptation.pseudo import confident


def lengths(differences: np.ndarray, metric: np.ndarray) -> np.ndarray:
    return np.einsum("pi,ij,pj->p", differences, metric, differences)


def test_pairs_within_their_bounds_leave_euclid_as_it_is() -> None:
    differences, similar = np.array([[0.1, 0.0], [3.0, 0.0]]), np.array([True, False])
    np.testing.assert_array_equal(learn_metric(differences, similar, near=1.0, far=4.0), np.eye(2))


def test_bounds_are_kept_when_slack_is_dear() -> None:
    differences = np.array([[2.0, 0.1], [0.1, 0.5]])
    metric = learn_metric(differences, np.array([True, False]), near=1.0, far=2.0, slack=1e6)
    near, far = lengths(differences, metric)
    assert near <= 1.02
    assert far >= 1.96
    assert np.linalg.eigvalsh(metric).min() > 0


def test_one_projection_by_hand() -> None:
    # One similar pair v = (2, 0) with d = 4 > u = 1 and no slack: W = I - 3/16 v v^T, and so d = 1.
    metric = learn_metric(np.array([[2.0, 0.0]]), np.array([True]), near=1.0, far=1.0, slack=1e12)
    np.testing.assert_allclose(metric, [[0.25, 0], [0, 1]], atol=1e-6)


def test_direction_of_the_shift_is_shortened() -> None:
    rng = np.random.default_rng(0)
    same, other = rng.normal(size=(200, 3)) * [3, 1, 0.2], rng.normal(size=(200, 3)) * [3, 1, 2]
    metric = learn_metric(np.r_[same, other], np.arange(400) < 200, near=2.0, far=6.0)
    assert metric[0, 0] < metric[1, 1] < metric[2, 2]


def test_surest_part_of_each_predicted_class_is_believed() -> None:
    sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.99, 0.01], [0.4, 0.6], [0.45, 0.55], [0.7, 0.3]])
    rows, labels = confident(sure, 0.5)
    np.testing.assert_array_equal(rows, [0, 2, 3])
    np.testing.assert_array_equal(labels, [0, 0, 1])


def test_every_predicted_class_keeps_one() -> None:
    rows, _ = confident(np.array([[0.9, 0.1], [0.2, 0.8]]), 0.01)
    np.testing.assert_array_equal(rows, [0, 1])
    assert len(confident(np.empty((0, 3)), 0.5)[0]) == 0
