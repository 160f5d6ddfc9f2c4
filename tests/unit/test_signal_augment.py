"""What augmentation does to a signal, by hand; and the noise that it should add."""

from __future__ import annotations

import numpy as np
import pytest

from training.signals.augment import (
    Strengths,
    augment,
    broadened,
    drift,
    fitted_to,
    moved,
    noise_level,
    regridded,
)

AT = np.linspace(0, 1, 201)
PEAKS = np.exp(-0.5 * ((AT - np.array([[0.3], [0.6]])) / 0.05) ** 2)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_moved_by_hand() -> None:
    x = np.array([[0.0, 1, 4, 9, 16]])
    np.testing.assert_allclose(moved(x, 0.25), [[0, 0, 1, 4, 9]])
    np.testing.assert_allclose(moved(x, -0.125), [[0.5, 2.5, 6.5, 12.5, 16]])
    np.testing.assert_allclose(moved(np.vstack([x, x]), np.array([0.25, 0])), [[0, 0, 1, 4, 9], x[0]])


def test_broadening_adds_variances() -> None:
    wide = broadened(PEAKS[:1], 0.05)[0]
    expected = np.exp(-0.5 * ((AT - 0.3) / np.hypot(0.05, 0.05)) ** 2) / np.sqrt(2)
    np.testing.assert_allclose(wide, expected, atol=1e-3)
    np.testing.assert_array_equal(broadened(PEAKS, 0.0), PEAKS)


def test_regridding_keeps_straight_lines_and_loses_detail() -> None:
    line = np.linspace(0, 5, 50)[None]
    np.testing.assert_allclose(regridded(line, 7), line, atol=1e-12)
    assert np.abs(regridded(PEAKS, 8) - PEAKS).max() > 0.1


def test_drift_is_slow_and_of_the_asked_size() -> None:
    drifts = drift((4000, 201), 0.5, rng())
    assert np.sqrt(drifts[:, -1].var()) == pytest.approx(0.5 * np.sqrt(3), rel=0.05)  # three terms, each 1
    assert np.abs(drifts.mean(axis=1)).max() < 0.05
    assert noise_level(drifts) < 1e-4


@pytest.mark.parametrize("level", [0.001, 0.1, 5.0])
def test_noise_level_is_seen_through_curves(level: float) -> None:
    x = 3 + PEAKS[np.arange(40) % 2] + level * rng().standard_normal((40, 201))
    assert noise_level(x) == pytest.approx(level, rel=0.1)
    assert noise_level(x[:1]) == pytest.approx(level, rel=0.3)


def test_noise_level_of_hardly_any_points_is_unknown() -> None:
    assert noise_level(np.ones((3, 7))) == 0


def test_noise_is_what_the_real_signals_have_more() -> None:
    quiet, loud = (PEAKS[:1] + s * rng().standard_normal((200, 201)) for s in (0.03, 0.05))
    assert fitted_to(Strengths(shift=0.1), quiet, loud).noise == pytest.approx(0.04, rel=0.05)
    assert fitted_to(Strengths(shift=0.1), loud, quiet) == Strengths(shift=0.1, noise=0.0)


def test_augment_is_seeded_and_does_what_is_asked() -> None:
    strengths = Strengths(0.01, 0.02, 0.01, 0.02, 0.1, 0.05, 50)
    once, again = augment(PEAKS, strengths, rng()), augment(PEAKS, strengths, rng())
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - PEAKS).max() > 0.01
    np.testing.assert_array_equal(augment(PEAKS, Strengths(), rng()), PEAKS)
    noisy = augment(np.zeros((50, 201)), Strengths(noise=0.2), rng())
    assert noisy.std() == pytest.approx(0.2, rel=0.03)
    gains = augment(np.ones((5000, 8)), Strengths(gain=0.3), rng())[:, 0]
    assert np.log(gains).std() == pytest.approx(0.3, rel=0.05)


def test_scaled_strengths() -> None:
    half = Strengths(noise=0.2, shift=0.1, coarsest=30).scaled(0.5)
    assert half == Strengths(noise=0.1, shift=0.05, coarsest=30)
