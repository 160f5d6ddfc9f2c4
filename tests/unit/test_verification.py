"""Same or different: the head that compares, and the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from training.verification.head import ReferenceHead
from training.verification.threshold import fit_slope, fit_threshold

SAME = np.array([0.9, 0.8, 0.7, 0.2])
DIFFERENT = np.array([0.1, 0.1, 0.3, 0.75])


def test_errors_are_alike_at_the_threshold() -> None:
    """One of four same pairs lies low, one of four different ones high."""
    found = fit_threshold(SAME, DIFFERENT)
    assert (found.false_accepts, found.false_rejects, found.equal_error) == (0.25, 0.25, 0.25)
    assert found.value == 0.7


def test_a_share_of_false_accepts_can_be_asked_for() -> None:
    none = fit_threshold(SAME, DIFFERENT, 0.0)
    assert (none.false_accepts, none.false_rejects) == (0.0, 0.5)
    assert none.value == 0.8
    half = fit_threshold(SAME, DIFFERENT, 0.5)
    assert (half.false_accepts, half.false_rejects) == (0.5, 0.0)


def test_separable_trials_have_no_error_and_no_certainty() -> None:
    same, different = np.array([0.9, 0.8]), np.array([0.1, 0.2])
    found = fit_threshold(same, different)
    assert (found.equal_error, found.value) == (0.0, 0.8)
    slope = fit_slope(same, different, found.value)
    sure = 1 / (1 + np.exp(-slope * (0.9 - found.value)))
    assert 0.5 < sure < 0.99


def test_when_every_different_pair_is_nearer_none_is_the_same() -> None:
    found = fit_threshold(np.array([0.1, 0.2]), np.array([0.9, 0.8]), 0.0)
    assert (found.false_accepts, found.false_rejects) == (0.0, 1.0)
    assert found.value > 0.9


def test_the_slope_is_that_of_the_likelihood() -> None:
    """Same pairs from sigmoid(4 x): enough of them find the 4."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, 20_000)
    same = rng.random(len(x)) < 1 / (1 + np.exp(-4 * x))
    assert fit_slope(x[same], x[~same], 0.0) == pytest.approx(4, rel=0.15)


def test_a_class_scores_as_its_nearest_reference() -> None:
    references = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    head = ReferenceHead(np.eye(2), np.zeros(2), references, np.array([0, 0, 1]), factor=3.0, shift=1.0)
    queries = np.array([[2.0, 0.0], [3.0, 4.0], [-5.0, 0.0]])
    np.testing.assert_allclose(head.logits(queries), [[4, -2], [3.4, -0.8], [1, 4]], atol=1e-9)
    assert head.logits(queries[:0]).shape == (0, 2)
    assert head.record().out_dim == 2
