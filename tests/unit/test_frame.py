"""The change of frame is exact."""

from __future__ import annotations

import numpy as np
import pytest

from training.frame import Frame
from training.heads import AffineHead


@pytest.mark.parametrize(("n", "dim"), [(50, 6), (5, 30)])
def test_coordinates_are_centred_scaled_and_keep_angles(n: int, dim: int) -> None:
    X = np.random.default_rng(0).normal(size=(n, dim)) * 7 + 100
    frame = Frame.of(X)
    Z = frame.enter(X).astype(np.float64)
    centred = (X - X.mean(axis=0)) / frame.scale
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-6)
    assert (Z**2).sum(axis=1).mean() == pytest.approx(1)
    np.testing.assert_allclose(Z @ Z.T, centred @ centred.T, atol=1e-5)
    assert Z.shape[1] == min(n - 1, dim)


def test_axes_are_ordered_by_variance() -> None:
    X = np.random.default_rng(0).normal(size=(40, 5)) * [1, 5, 2, 4, 3]
    spread = Frame.of(X).enter(X).var(axis=0)
    assert (np.diff(spread) < 0).all()


def test_lifted_head_answers_the_same() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6, 20)) + 3
    frame = Frame.of(X)
    head = AffineHead(rng.normal(size=(4, 5)), rng.normal(size=4), "softmax")
    np.testing.assert_allclose(head.lifted(frame).logits(X), head.logits(frame.enter(X)), atol=1e-5)


def test_equal_rows_do_not_divide_by_zero() -> None:
    X = np.ones((4, 3))
    frame = Frame.of(X)
    assert frame.axes is None
    np.testing.assert_array_equal(frame.enter(X), np.zeros((4, 3)))


def test_parts_of_a_joined_tap_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(40, 3)), 100 * rng.normal(size=(40, 5))], axis=1)
    frame = Frame.of(X, (3, 5))
    parts = np.split((X - frame.mean) / frame.scale, [3], axis=1)
    assert [(part**2).sum(axis=1).mean() for part in parts] == pytest.approx([0.5, 0.5])
    assert (frame.enter(X) ** 2).sum(axis=1).mean() == pytest.approx(1)


def test_head_over_parts_is_lifted_exactly() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(9, 20)) * np.repeat([1, 50], 10) + 3
    frame = Frame.of(X, (10, 10))
    head = AffineHead(rng.normal(size=(4, 8)), rng.normal(size=4), "softmax")
    np.testing.assert_allclose(head.lifted(frame).logits(X), head.logits(frame.enter(X)), atol=1e-5)
