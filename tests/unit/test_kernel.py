"""Kernel heads: by hand, and through a frame that leaves dimensions out."""

from __future__ import annotations

import numpy as np
import pytest

from models.runtime import open_session
from training.frame import Frame
from training.heads import scores
from training.kernel import MOST_SUPPORTS, KernelHead, draw_supports, median_distance, squared_distances


def two_supports(frame: Frame | None = None) -> KernelHead:
    return KernelHead(
        support=np.array([[0.0], [2.0]]),
        gamma=0.5,
        dual=np.array([[1.0], [-3.0]]),
        weight=np.array([[0.1]]),
        bias=np.array([4.0]),
        activation="identity",
        frame=frame,
    )


def test_value_by_hand() -> None:
    # At z = 1 both supports are at squared distance 1: exp(-0.5) (1 - 3) + 0.1 + 4.
    found = two_supports().logits(np.array([[1.0]]))
    np.testing.assert_allclose(found, [[-2 * np.exp(-0.5) + 4.1]])


def test_what_lies_outside_the_span_is_no_distance() -> None:
    # The examples vary along (1, 1) only; a query far off that line is seen where it projects.
    X = np.array([[0, 0], [1, 1], [3, 3]], np.float32)
    frame = Frame.of(X)
    head = two_supports(frame)
    on, off = np.array([[2, 2]], np.float32), np.array([[0, 4]], np.float32)
    np.testing.assert_allclose(head.logits(on), head.logits(off), atol=1e-6)
    answers = open_session(head.to_onnx()).run(None, {"features": np.concatenate([on, off])})[0]
    np.testing.assert_allclose(answers, scores(head, np.concatenate([on, off])), atol=1e-5)


def test_distances_and_their_median() -> None:
    X = np.array([[0.0, 0], [3, 4], [0, 1]])
    expected = ((X[:, None] - X) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(X, X), expected, atol=1e-12)
    assert median_distance(expected) == 18  # of 25, 1 and 18
    assert median_distance(np.zeros((1, 1))) == 1


@pytest.mark.parametrize(("n", "kept"), [(5, 5), (MOST_SUPPORTS + 7, MOST_SUPPORTS)])
def test_supports_are_capped(n: int, kept: int) -> None:
    rows = draw_supports(n, seed=3)
    assert len(rows) == len(set(rows)) == kept
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, draw_supports(n, seed=3))
