"""Band spectra as of Raman, infrared, chromatography or diffraction: sharp peaks on a slow background."""

from __future__ import annotations

import numpy as np

from training.pretrain.signal.made import PLACE, POINTS, Array, Made, Nuisance, log_uniform, numbered

_MOST = 8
_BINS = 16


def peaks(n: int, rng: np.random.Generator) -> Made:
    """One to eight pseudo-Voigt peaks, and in half of the signals a curved background.

    Known: how many peaks; position, logarithmic width and dominance of the greatest; and the peaks alone,
    summed into sixteen parts of the axis.
    """
    centre, height = rng.uniform(0.02, 0.98, (n, _MOST)), log_uniform(rng, 0.05, 1.0, (n, _MOST))
    count = rng.integers(1, _MOST + 1, n)
    height *= np.arange(_MOST) < count[:, None]
    width = log_uniform(rng, 0.008, 0.12, (n, 1)) * log_uniform(rng, 0.7, 1.4, (n, _MOST))
    alone = pseudo_voigt(centre, width, height, rng.random((n, 1)))
    top = height.argmax(axis=1)[:, None]
    main = np.take_along_axis(height, top, 1)[:, 0]
    spread = alone.std(axis=1, keepdims=True)
    background = _background(n, rng) * spread * rng.uniform(0, 4, (n, 1)) * (rng.random((n, 1)) < 0.5)
    parts = alone.reshape(n, _BINS, POINTS // _BINS).mean(axis=2) / spread
    known = {
        "peak_count": count.astype(np.float64),
        "peak_at": np.take_along_axis(centre, top, 1)[:, 0],
        "peak_width": np.log(np.take_along_axis(width, top, 1)[:, 0]),
        "peak_share": main / height.sum(axis=1),
        **numbered("peak_part", parts),
    }
    nuisance = Nuisance(noise=(2e-3, 0.1), baseline=0.1, coarse=0.2)
    return Made(alone + background, known, nuisance, np.zeros(n, np.int64))


def pseudo_voigt(centre: Array, width: Array, height: Array, lorentzian: Array) -> Array:
    """Sum [n, POINTS] of peaks [n, peaks]; `width` is the full one at half maximum, `lorentzian` a share."""
    squared = (2 * (PLACE - centre[..., None]) / width[..., None]) ** 2
    share = lorentzian[..., None]
    shape = share / (1 + squared) + (1 - share) * np.exp2(-squared)
    total: Array = (height[..., None] * shape).sum(axis=1)
    return total


def _background(n: int, rng: np.random.Generator) -> Array:
    """Fluorescence-like: a broad hump, or an exponential decay, about 1 high."""
    hump = np.exp(-(((PLACE - rng.uniform(-0.2, 1.2, (n, 1))) / rng.uniform(0.3, 1.0, (n, 1))) ** 2))
    decay = np.exp(-PLACE * rng.uniform(0.5, 5, (n, 1)))
    return np.where(rng.random((n, 1)) < 0.5, hump, decay)
