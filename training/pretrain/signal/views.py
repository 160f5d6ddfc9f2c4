"""Two views of one signal: what noise, drift, gain, resolution and the axis do to it."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre

from training.pretrain.signal.made import PLACE, POINTS, Array, Nuisance, log_uniform

_DEGREE = 3
_COARSEST = 24


def view(clean: Array, nuisance: Nuisance, rng: np.random.Generator) -> Array:
    """One measurement [n, POINTS] of `clean` [n, POINTS], of any gain and offset."""
    n = len(clean)
    deviation = clean.std(axis=1, keepdims=True)
    drift = legendre.legvander(2 * PLACE - 1, _DEGREE)[:, 1:]
    sizes = nuisance.baseline * rng.random((n, 1)) * rng.standard_normal((n, _DEGREE))
    seen = moved(clean, displacement(n, nuisance, rng)) + deviation * (sizes @ drift.T)
    noise = deviation * log_uniform(rng, *nuisance.noise, (n, 1))
    points = int(log_uniform(rng, _COARSEST, POINTS, 1)[0]) if rng.random() < nuisance.coarse else POINTS
    seen = detected(seen, noise, points, rng)
    gain, offset = log_uniform(rng, 0.3, 3, (n, 1)), rng.normal(0, 1, (n, 1))
    return np.asarray(gain * (seen + offset * deviation))


def displacement(n: int, nuisance: Nuisance, rng: np.random.Generator) -> Array | None:
    """How far each point of n signals is moved, as a fraction of the axis [n, POINTS]; None: not at all."""
    if nuisance.shift == 0 and nuisance.warp == 0:
        return None
    rigid = rng.uniform(-nuisance.shift, nuisance.shift, (n, 1))
    bends = rng.uniform(-nuisance.warp, nuisance.warp, (n, 3))
    return np.asarray(rigid + bends @ np.sin(np.pi * np.arange(1, 4)[:, None] * PLACE))


def moved(signals: Array, displaced: Array | None) -> Array:
    """`signals` [n, POINTS] read at displaced positions, by linear interpolation; the ends are held."""
    if displaced is None:
        return signals
    at = np.clip((PLACE + displaced) * (POINTS - 1), 0, POINTS - 1 - 1e-9)
    left = at.astype(np.int64)
    low, high = np.take_along_axis(signals, left, 1), np.take_along_axis(signals, left + 1, 1)
    return np.asarray(low + (at - left) * (high - low))


def detected(signals: Array, noise: Array, points: int, rng: np.random.Generator) -> Array:
    """`signals` as a detector of `points` channels gives them, with `noise` [n, 1], resampled to the grid."""
    there = signals if points == POINTS else signals @ interpolation(POINTS, points)
    there = there + noise * rng.standard_normal(there.shape)
    return there if points == POINTS else np.asarray(there @ interpolation(points, POINTS))


def interpolation(source: int, target: int) -> Array:
    """The matrix [source, target] that resamples rows linearly, end to end."""
    at = np.linspace(0, source - 1, target)
    return np.asarray(np.maximum(0.0, 1 - np.abs(np.arange(source)[:, None] - at)))
