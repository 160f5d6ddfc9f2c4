"""Uncertainty weighting against arithmetic by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from training.deep.uncertainty import Uncertainty  # noqa: E402 (after torch is known to be there)


def test_the_total_is_kendalls() -> None:
    weigh = Uncertainty(["classification", "regression"])
    with torch.no_grad():
        weigh.log_variance.copy_(torch.tensor([0.4, -1.0]))
    total = weigh({0: torch.tensor(2.0), 1: torch.tensor(3.0)})
    expected = math.exp(-0.4) * 2 + 0.4 / 2 + 0.5 * math.exp(1.0) * 3 - 1.0 / 2
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert weigh({1: torch.tensor(3.0)}).item() == pytest.approx(0.5 * math.exp(1.0) * 3 - 0.5, rel=1e-6)


def test_the_best_uncertainty_is_the_error_itself() -> None:
    """exp(-s) L / 2 + s / 2 is least at s = log L, so a task that cannot be learnt loses weight."""
    weigh = Uncertainty(["regression"])
    with torch.no_grad():
        weigh.log_variance.fill_(math.log(5))
    weigh({0: torch.tensor(5.0)}).backward()
    assert weigh.log_variance.grad.item() == pytest.approx(0, abs=1e-6)
