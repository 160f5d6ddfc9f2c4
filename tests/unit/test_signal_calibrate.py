"""The instrument is found again from what it did to a few signals."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulated import simulated
from training.signals.calibrate import Instrument, calibrate, twin

TRUE = Instrument(shift=0.02, broadening=0.015, gain=1.3, offset=0.2)


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_one_example_tells_the_instrument(shots: int, noise: float) -> None:
    x, y = simulated(200, 0)
    real, real_y = simulated(shots, 1)
    seen = TRUE.apply(real) + noise * np.random.default_rng(2).standard_normal(real.shape)
    found = calibrate(x, y, seen, real_y)
    assert found.shift == pytest.approx(0.02, abs=0.003)
    assert found.broadening == pytest.approx(0.015, abs=0.01)  # a peak's own width varies too
    assert found.gain == pytest.approx(1.3, rel=0.1)
    assert found.offset == pytest.approx(0.2, abs=0.05)


def test_nothing_real_or_nothing_wrong_changes_nothing() -> None:
    x, y = simulated(200, 0)
    assert calibrate(x, y, x[:0], y[:0]) == Instrument()
    np.testing.assert_array_equal(Instrument().apply(x), x)
    found = calibrate(x, y, *simulated(3, 1))
    assert abs(found.shift) < 0.002
    assert found.gain == pytest.approx(1, abs=0.05)


def test_twin_is_the_simulator_at_the_very_label() -> None:
    y = np.linspace(-1, 1, 41)[:, None]
    shape, rest = np.sin(np.arange(30)), np.cos(np.arange(30))
    wobble = np.random.default_rng(0).standard_normal((41, 1))
    found = twin(5 + y * shape + wobble * rest, y, np.array([0.513]))
    np.testing.assert_allclose(found.mean - 5 - 0.513 * shape, rest * (found.mean[0] - 5), atol=1e-6)
    direction = found.ways[0] / np.linalg.norm(found.ways[0])
    assert abs(direction @ rest) == pytest.approx(np.linalg.norm(rest), rel=1e-6)


def test_long_signals_are_thinned() -> None:
    x, y = simulated(60, 0, points=1500)
    real, real_y = simulated(1, 1, points=1500)
    assert calibrate(x, y, TRUE.apply(real), real_y).shift == pytest.approx(0.02, abs=0.003)
