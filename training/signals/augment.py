"""Make simulated signals look measured: noise, drift, a moved and coarser axis, broadening, gain and offset.

Pure functions of signals [n, points] and a seeded generator; axis amounts are fractions of the axis. What
the few real examples can tell, how strong the noise is, sets the strengths (`fitted_to`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

Array = NDArray[np.float64]
Generator = np.random.Generator
_ORDER = 3  # of the differences that leave noise and little else
_MAD = 1.4826  # the median absolute deviation of a normal variable is its standard deviation over this
_DEGREE = 3


@dataclass(frozen=True)
class Strengths:
    """Standard deviations of what happens to each signal.

    `noise` and `offset` are in the signals' units, `drift` too, for each Legendre coefficient from the
    first to the third; `shift` is a fraction of the axis; `gain` is of the logarithm. `broadening` is the
    greatest Gaussian width, a fraction of the axis, and `coarsest` the least number of points of a coarser
    grid through which a signal may go, None for no such thing; both are drawn evenly.
    """

    noise: float = 0.0
    drift: float = 0.0
    shift: float = 0.0
    broadening: float = 0.0
    gain: float = 0.0
    offset: float = 0.0
    coarsest: int | None = None

    def scaled(self, factor: float) -> Strengths:
        """All but the coarser grid, stronger or weaker."""
        amounts = {name: factor * value for name, value in vars(self).items() if name != "coarsest"}
        return replace(self, **amounts)


def augment(x: NDArray[np.floating], strengths: Strengths, rng: Generator) -> Array:
    """Each of the signals [n, points] once more, disturbed; the order is that in which an instrument acts."""
    n = len(x)
    seen = moved(x, strengths.shift * rng.standard_normal(n))
    seen = _each_broadened(seen, strengths.broadening * rng.random(n))
    seen = seen * np.exp(strengths.gain * rng.standard_normal((n, 1)))
    seen = seen + strengths.offset * rng.standard_normal((n, 1)) + drift(seen.shape, strengths.drift, rng)
    if strengths.coarsest is not None and strengths.coarsest < seen.shape[1]:
        seen = regridded(seen, int(rng.integers(strengths.coarsest, seen.shape[1] + 1)))
    return np.asarray(seen + strengths.noise * rng.standard_normal(seen.shape))


def noise_level(x: NDArray[np.floating]) -> float:
    """Standard deviation of white noise on signals [n, points], the median over signals; 0 below 8 points.

    Third differences take smooth curves away and multiply the variance of white noise by C(6, 3) = 20;
    their median absolute deviation forgives the few places where a curve is sharp.
    """
    if x.shape[1] < 2 * (_ORDER + 1):
        return 0.0
    rough = np.diff(np.asarray(x, np.float64), _ORDER, axis=1)
    spread = _MAD * np.median(np.abs(rough), axis=1) / np.sqrt(comb(2 * _ORDER, _ORDER))
    return float(np.median(spread))


def fitted_to(strengths: Strengths, simulated: Array, real: Array) -> Strengths:
    """The strengths with the noise that the real signals have and the simulated ones [n, points] lack."""
    if not len(real):
        return strengths
    missing = max(0.0, noise_level(real) ** 2 - noise_level(simulated) ** 2)
    return replace(strengths, noise=float(np.sqrt(missing)))


def moved(x: NDArray[np.floating], shift: float | Array) -> Array:
    """Signals [n, points] moved towards higher places by a fraction of the axis (one each, or one for all).

    Linear interpolation; the ends are held.
    """
    n, points = x.shape
    shifts = np.broadcast_to(np.asarray(shift, np.float64), (n,))
    if not shifts.any():
        return np.asarray(x, np.float64)
    at = np.clip(np.arange(points) - shifts[:, None] * (points - 1), 0, points - 1)
    left = np.minimum(at.astype(np.int64), points - 2)
    low, high = np.take_along_axis(x, left, 1), np.take_along_axis(x, left + 1, 1)
    return np.asarray(low + (at - left) * (high - low), np.float64)


def broadened(x: NDArray[np.floating], width: float) -> Array:
    """Signals [n, points] through a Gaussian of standard deviation `width`, a fraction of the axis.

    The ends are held.
    """
    from scipy.ndimage import gaussian_filter1d  # slow to import, and few jobs need it

    deviation = width * (x.shape[1] - 1)
    found = np.asarray(x, np.float64)
    return found if deviation < 1e-3 else np.asarray(gaussian_filter1d(found, deviation, mode="nearest"))


def regridded(x: NDArray[np.floating], points: int) -> Array:
    """Signals [n, length] as an instrument of `points` channels gives them, resampled to their length."""
    length = x.shape[1]
    full, coarse = np.linspace(0, 1, length), np.linspace(0, 1, points)
    return np.stack([np.interp(full, coarse, np.interp(coarse, full, row)) for row in x])


def drift(shape: tuple[int, int], size: float, rng: Generator) -> Array:
    """Slow baselines of the shape [n, points]: Legendre polynomials of degree 1 to 3, coefficients normal."""
    terms = legendre.legvander(np.linspace(-1, 1, shape[1]), _DEGREE)[:, 1:]
    return np.asarray(size * rng.standard_normal((shape[0], _DEGREE)) @ terms.T)


def _each_broadened(x: Array, widths: Array) -> Array:
    if not widths.any():
        return x
    return np.concatenate([broadened(row[None], width) for row, width in zip(x, widths, strict=True)])
