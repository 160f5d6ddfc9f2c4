"""Temperature scaling."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from training.calibrate import losses, smoothing, temperature
from training.heads import Activation, activate


def drawn(factor: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and one-hot outcomes drawn as if the logits had been `factor` times as large."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 3))
    chosen = [rng.choice(3, p=row) for row in activate("softmax", factor * logits)]
    return logits, np.eye(3)[chosen]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_true_factor_is_found(factor: float) -> None:
    assert temperature("softmax", *drawn(factor)) == pytest.approx(factor, rel=0.1)


def test_separable_handful_does_not_claim_certainty() -> None:
    truth = np.eye(2)[[0, 1, 0, 1]]
    factor = temperature("softmax", truth, truth)
    assert activate("softmax", factor * truth).max() < 0.9
    assert activate("softmax", temperature("softmax", truth, truth, prior=0) * truth).max() > 0.9


def test_sigmoid_factor_is_found() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(4000, 2))
    truth = (rng.random((4000, 2)) < activate("sigmoid", 2 * logits)).astype(float)
    assert temperature("sigmoid", logits, truth) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 20.0, 300.0])
def test_a_factor_is_the_minimum(activation: Activation, scale: float) -> None:
    """Of the smoothed loss with its prior, to the precision that is asked, also at the ends of the range."""
    logits, truth = drawn(1.0, 60)
    outcomes = 3 if activation == "softmax" else 2
    share = smoothing(60, outcomes)
    aim = (1 - share) * truth + share / outcomes
    logs = np.linspace(np.log(1 / 16), np.log(64), 2_000)
    values = [losses(activation, np.exp(t) * scale * logits, aim).sum() + 4 * t * t for t in logs]
    found = np.log(temperature(activation, scale * logits, truth))
    assert found == pytest.approx(logs[int(np.argmin(values))], abs=0.015)


def test_nothing_to_learn_from_leaves_one() -> None:
    assert temperature("softmax", np.empty((0, 3)), np.empty((0, 3))) == 1
    assert temperature("identity", np.ones((3, 1)), np.ones((3, 1))) == 1


def test_losses_are_scikit_learns() -> None:
    logits, truth = drawn(1.0, 50)
    found = losses("softmax", logits, truth)
    assert found.mean() == pytest.approx(log_loss(truth.argmax(axis=1), activate("softmax", logits)))
    binary = losses("sigmoid", logits[:, :1], truth[:, :1])
    assert binary.mean() == pytest.approx(log_loss(truth[:, 0], activate("sigmoid", logits[:, 0])))
    np.testing.assert_allclose(losses("identity", logits, truth), ((logits - truth) ** 2).mean(axis=1))
