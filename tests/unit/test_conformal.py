"""Prediction sets: the threshold by hand, its coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from models.sets import leading, members
from training.conformal import fit_sets
from training.metrics import conformal_rank


@pytest.mark.parametrize(
    ("n", "level", "rank"), [(8, 0.9, None), (9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (19, 0.95, 19)]
)
def test_the_rank_is_the_papers(n: int, level: float, rank: int | None) -> None:
    assert conformal_rank(n, level) == rank


def test_a_set_has_what_reaches_the_threshold_and_always_the_likeliest() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.2, 0.4, 0.4], [0.4, 0.35, 0.25]])
    np.testing.assert_array_equal(members(scores, 0.35), [[1, 0, 0], [0, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(members(scores, 0.9), [[1, 0, 0], [0, 1, 0], [1, 0, 0]])


def test_serving_has_the_same_rule_by_falling_scores() -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(4), 50).round(1)  # with ties
    for threshold in (0.0, 0.3, 0.5, 2.0):
        for row, inside in zip(scores.tolist(), members(scores, threshold), strict=True):
            places = sorted(range(4), key=row.__getitem__, reverse=True)
            assert leading(places, row, threshold) == [place for place in places if inside[place]]


def test_the_threshold_is_what_nine_tenths_of_true_classes_reached() -> None:
    # 19 true scores 0.05 .. 0.95: the 18th smallest of one minus them belongs to 0.1.
    true = np.arange(1, 20) / 20
    scores = np.stack([true, 1 - true], axis=1)
    sets, found = fit_sets(scores, np.zeros(19, int), np.arange(19))
    assert (sets.level, sets.threshold) == (0.9, pytest.approx(0.1))
    assert found["set_coverage"] == pytest.approx(18 / 19)  # 0.05 misses the 0.1 that the others set
    assert 1 <= found["set_size"] <= 2


def test_sets_hold_the_truth_of_new_examples_nine_times_in_ten() -> None:
    rng = np.random.default_rng(0)

    def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 4, n)
        logits = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[y]
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True), y

    held, sizes = [], []
    for _ in range(100):
        scores, y = sample(40)
        sets, _ = fit_sets(scores, y, np.arange(40) % 5)
        scores, y = sample(500)
        chosen = members(scores, sets.threshold)
        held.append(chosen[np.arange(500), y].mean())
        sizes.append(chosen.sum(axis=1).mean())
    # With the plain 90th percentile in place of rank ceil(0.9 (n + 1)) it would be 0.88.
    assert 0.895 <= np.mean(held) <= 0.93
    assert np.mean(sizes) < 3


def test_eight_examples_are_too_few() -> None:
    assert fit_sets(np.full((9, 2), 0.5), np.zeros(9, int), np.arange(9)) is None
