"""From a simulator to an instrument: one shift, broadening, gain and offset that explain real examples.

A real signal s of label y is a draw of the simulator at y, seen through the instrument T (moved axis,
broadened, times gain g, plus offset o): s ~ T(g (m(y) + U z)) + o, with m(y) the mean of the simulated
signals at that label, U their principal ways of varying there and z normal. For given shift and broadening
the rest is a small penalised least-squares problem; those two are searched, coarsely and then by
Nelder-Mead, with weak priors around no change. One labelled example is enough to start with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.signals.augment import broadened, moved, noise_level

Array = NDArray[np.float64]
_POINTS = 512  # on which the instrument is sought
_SHIFTS = np.linspace(-0.1, 0.1, 41)
_WIDTHS = np.array([0.0, 0.01, 0.03])
_SHIFT_PRIOR, _WIDTH_PRIOR, _GAIN_PRIOR = 0.05, 0.02, 1.0
_NEIGHBOURS, _WAYS = 40, 6
_MISFIT = 0.02  # of a signal's deviation: what no simulator explains


@dataclass(frozen=True)
class Instrument:
    """What a simulated signal goes through to look like a real one.

    `shift` and `broadening` (a Gaussian's standard deviation) are fractions of the axis.
    """

    shift: float = 0.0
    broadening: float = 0.0
    gain: float = 1.0
    offset: float = 0.0

    def apply(self, x: NDArray[np.floating]) -> Array:
        """Simulated signals [n, points] as the instrument shows them."""
        return self.gain * broadened(moved(x, self.shift), self.broadening) + self.offset


@dataclass(frozen=True, eq=False)
class Twin:
    """The simulator at one label: `mean` [points], and scaled directions `ways` [q, points]."""

    mean: Array
    ways: Array

    @property
    def rows(self) -> Array:
        """The mean and behind it the ways [1 + q, points]."""
        return np.vstack([self.mean, self.ways])


def twin(simulated: Array, targets: Array, target: Array) -> Twin:
    """Of the simulated signals [n, points] with `targets` [n, K], those nearest to `target` [K].

    Their labels' linear effect is taken out, so that the mean is that at the very label.
    """
    distance = ((targets - target) ** 2).sum(axis=1)
    near = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
    apart = targets[near] - target
    terms = np.column_stack([np.ones(len(near)), apart])
    slope = np.linalg.lstsq(terms, simulated[near], rcond=None)[0]
    rest = simulated[near] - terms @ slope
    _, size, axes = np.linalg.svd(rest, full_matrices=False)
    ways = axes[:_WAYS] * size[:_WAYS, None] / np.sqrt(max(1, len(near) - 1))
    return Twin(slope[0], ways)


def calibrate(simulated: Array, targets: Array, real: Array, real_targets: Array) -> Instrument:
    """The instrument of `real` signals [k, points] with targets [k, K], all seen by the same one.

    `simulated` [n, points] with `targets` [n, K] are the simulator's. With no real signal: no change.
    """
    if not len(real):
        return Instrument()
    simulated, real = _thinned(simulated), _thinned(real)
    twins = [twin(simulated, targets, target) for target in real_targets]
    floor = _MISFIT * float(real.std(axis=1).mean())
    variance = max(noise_level(real) ** 2 + floor**2, np.finfo(np.float64).tiny)
    misfit = partial(_misfit, twins, real, variance)
    starts = sorted((misfit((s, w))[0], s, w) for s in _SHIFTS for w in _WIDTHS)[:2]
    shift, width = min((_refined(misfit, s, w) for _, s, w in starts), key=lambda found: misfit(found)[0])
    _, gain, offset = misfit((shift, width))
    return Instrument(shift, width, gain, offset)


def _refined(misfit: Any, shift: float, width: float) -> tuple[float, float]:
    from scipy.optimize import minimize  # slow to import, and few jobs need it

    simplex = [(shift, width), (shift + 0.003, width), (shift, width + 0.003)]
    found = minimize(
        lambda at: misfit((at[0], abs(at[1])))[0],
        (shift, width),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-3, "maxfev": 80},
    )
    return float(found.x[0]), abs(float(found.x[1]))


def _misfit(
    twins: list[Twin], real: Array, variance: float, at: tuple[float, float]
) -> tuple[float, float, float]:
    """Minus the log posterior of a shift and a width, with the gain and offset that are best there."""
    shift, width = at
    normal = np.diag([variance / _GAIN_PRIOR**2, 0.0])
    right = np.array([variance / _GAIN_PRIOR**2, 0.0])
    constant = variance / _GAIN_PRIOR**2
    simulated = np.concatenate([one.rows for one in twins])
    through = broadened(moved(simulated, shift), width)
    ends = np.cumsum([len(one.rows) for one in twins])
    for rows, signal in zip(np.split(through, ends[:-1]), real, strict=True):
        terms, ways = np.column_stack([rows[0], np.ones(len(signal))]), rows[1:]
        within = np.linalg.solve(ways @ ways.T + variance * np.eye(len(ways)), ways)
        clean = terms - ways.T @ (within @ terms)
        normal += terms.T @ clean
        right += clean.T @ signal
        constant += signal @ signal - signal @ ways.T @ (within @ signal)
    gain, offset = np.linalg.solve(normal, right)
    rest = constant - right @ np.array([gain, offset])
    prior = (shift / _SHIFT_PRIOR) ** 2 + (width / _WIDTH_PRIOR) ** 2
    return 0.5 * float(rest / variance + prior), float(gain), float(offset)


def _thinned(x: Array) -> Array:
    """Signals of at most _POINTS points, by linear interpolation."""
    points = x.shape[1]
    if points <= _POINTS:
        return x
    at, full = np.linspace(0, 1, _POINTS), np.linspace(0, 1, points)
    return np.stack([np.interp(at, full, row) for row in x])
