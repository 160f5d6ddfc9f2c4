"""The smoother against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from training.signals.smooth import smoothed

AT = np.linspace(0, 1, 200)
CURVE = np.sin(9 * AT)[None]


def test_noise_goes_and_the_curve_stays() -> None:
    noisy = CURVE + 0.2 * np.random.default_rng(0).standard_normal((8, 200))
    error = np.sqrt(((smoothed(noisy) - CURVE) ** 2).mean(axis=1))
    assert error.max() < 0.08
    np.testing.assert_allclose(smoothed(CURVE), CURVE, atol=1e-4)


def test_each_row_alone() -> None:
    rows = np.vstack([CURVE, CURVE + 0.2 * np.random.default_rng(0).standard_normal(200)])
    np.testing.assert_allclose(smoothed(rows)[1], smoothed(rows[1:])[0])


def test_parabolas_are_smooth_already() -> None:
    parabola = (3 + 2 * AT - 5 * AT**2)[None]
    np.testing.assert_allclose(smoothed(parabola), parabola, atol=1e-8)


@pytest.mark.parametrize("points", [15, 1001])
def test_too_short_or_too_long_is_left_alone(points: int) -> None:
    curves = np.random.default_rng(0).standard_normal((2, points))
    np.testing.assert_array_equal(smoothed(curves), curves)
