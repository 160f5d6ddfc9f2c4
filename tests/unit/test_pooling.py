"""Weights of a pool: the anchor without evidence, the better head with it."""

from __future__ import annotations

import numpy as np
import pytest

from training.heads import Activation
from training.pooling import cross_fitted, pool_weights, prior_weights


def heads(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [2, 1, n, 3] of a head that guesses and one that mostly knows; targets [n, 3]."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    targets = np.eye(3)[y]
    guess, know = rng.normal(size=(n, 3)), 3 * targets + rng.normal(size=(n, 3))
    return np.stack([guess, know])[:, None], targets


def test_prior_is_mostly_the_anchors() -> None:
    np.testing.assert_allclose(prior_weights(5), [0.6, 0.1, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(prior_weights(1), [1])


def test_without_rows_the_prior_stands() -> None:
    logits, targets = heads(0)
    np.testing.assert_allclose(pool_weights("softmax", logits, targets, prior_weights(2)), [0.6, 0.4])


def test_evidence_grows_with_the_examples() -> None:
    few, many = (pool_weights("softmax", *heads(n), prior_weights(2)) for n in (4, 400))
    assert few[0] > 0.2
    assert many[0] < 0.05
    assert few.sum() == pytest.approx(1)


def test_repetitions_are_not_more_examples() -> None:
    logits, targets = heads(30)
    once = pool_weights("softmax", logits, targets, prior_weights(2))
    thrice = pool_weights("softmax", np.repeat(logits, 3, axis=1), targets, prior_weights(2))
    np.testing.assert_allclose(once, thrice, atol=1e-3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "identity"])
def test_weights_are_the_minimum(activation: Activation) -> None:
    logits, targets = heads(40)
    prior = prior_weights(2)
    found = pool_weights(activation, logits, targets, prior)[0]

    def objective(w: float) -> float:
        mixed = w * logits[0, 0] + (1 - w) * logits[1, 0]
        pull = 4 * (w * np.log(w / prior[0]) + (1 - w) * np.log((1 - w) / prior[1]))
        if activation == "identity":
            return float(0.5 * ((mixed - targets) ** 2).sum() / targets.var(axis=0).sum() + pull)
        outcomes = 3 if activation == "softmax" else 2
        share = min(0.5, 0.2 * outcomes / (40 + 2 * outcomes))
        aim = (1 - share) * targets + share / outcomes
        if activation == "sigmoid":
            return float(np.logaddexp(0, mixed).sum() - (aim * mixed).sum() + pull)
        return float(np.log(np.exp(mixed).sum(axis=1)).sum() - (aim * mixed).sum() + pull)

    grid = np.linspace(0.001, 0.999, 999)
    assert found == pytest.approx(grid[np.argmin([objective(w) for w in grid])], abs=3e-3)


def test_row_has_no_part_in_its_own_weights() -> None:
    logits, targets = heads(20)
    fold = np.arange(20) % 4
    before = cross_fitted("softmax", logits, targets, prior_weights(2), fold)
    lies = targets.copy()
    lies[fold == 0] = np.roll(targets[fold == 0], 1, axis=1)
    after = cross_fitted("softmax", logits, lies, prior_weights(2), fold)
    np.testing.assert_allclose(after[fold == 0], before[fold == 0])
    assert not np.allclose(after[fold != 0], before[fold != 0])
