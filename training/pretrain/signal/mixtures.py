"""Near-infrared spectra of mixtures of known composition, at the long and at the short wavelengths.

The long ones (1100 to 2500 nm) use the bands of `training.pretrain.materials`. The short ones (700 to
1100 nm), which see deep into meat and grain, use the third overtones below; positions after Workman and
Weyer (2008) and Osborne, Fearn and Hindle (Practical NIR Spectroscopy, 1993), rounded, strengths of the
right order of magnitude.
"""

from __future__ import annotations

import numpy as np

from training.pretrain.materials import COMPOUNDS, Band
from training.pretrain.signal.made import PLACE, Array, Made, Nuisance, log_uniform
from training.pretrain.spectra import voigt

OVERTONES: dict[str, tuple[Band, ...]] = {
    "water": (
        Band(740, 40, 15, 0.0022),
        Band(838, 50, 15, 0.0020),
        Band(962, 34, 14, 0.0125),
        Band(985, 44, 16, 0.0120),
        Band(1170, 80, 30, 0.050),
    ),
    "fat": (
        Band(762, 20, 8, 0.0020),
        Band(830, 30, 10, 0.0012),
        Band(893, 22, 8, 0.0040),
        Band(911, 18, 7, 0.0050),
        Band(930, 20, 9, 0.0150),
        Band(1016, 26, 10, 0.0018),
        Band(1041, 26, 10, 0.0050),
        Band(1070, 26, 10, 0.0030),
        Band(1210, 40, 18, 0.100),
    ),
    "protein": (
        Band(880, 30, 12, 0.0022),
        Band(910, 26, 12, 0.0060),
        Band(978, 34, 14, 0.0030),
        Band(1020, 32, 14, 0.0070),
        Band(1050, 40, 14, 0.0030),
        Band(1187, 45, 18, 0.050),
    ),
    "sugar": (
        Band(905, 30, 12, 0.0045),
        Band(960, 40, 16, 0.0045),
        Band(990, 36, 14, 0.0065),
        Band(1200, 50, 18, 0.045),
    ),
    "starch": (
        Band(901, 30, 12, 0.0050),
        Band(918, 28, 12, 0.0040),
        Band(979, 42, 16, 0.0085),
        Band(1030, 40, 14, 0.0020),
        Band(1200, 50, 18, 0.050),
    ),
    "ethanol": (
        Band(889, 26, 10, 0.0040),
        Band(905, 22, 9, 0.0080),
        Band(935, 26, 10, 0.0030),
        Band(968, 40, 14, 0.0060),
        Band(1012, 30, 12, 0.0030),
        Band(1185, 40, 16, 0.060),
    ),
}
"""Bands of each compound from 700 to 1250 nm, strengths in m²/kg."""

_NAMES = tuple(compound.name for compound in COMPOUNDS)
_LEAN = np.array([0.77, 0.0, 0.21, 0.01, 0.01, 0.0])  # meat without its fat, columns as COMPOUNDS


def short(n: int, rng: np.random.Generator) -> Made:
    """Diffuse transmission from 700 to 1100 nm through centimetres of food."""
    usual = rng.random(n) < 0.5  # the range of the common analysers of meat and grain
    low = np.where(usual, 850 + rng.normal(0, 3, n), rng.uniform(700, 880, n))
    high = np.where(usual, 1050 + rng.normal(0, 3, n), rng.uniform(1030, 1100, n))
    path = log_uniform(rng, 0.01, 0.1, n)
    return _measured(_foods(n, rng), low, high, path, OVERTONES, rng)


def long(n: int, rng: np.random.Generator) -> Made:
    """Transmission or reflection from 1100 to 2500 nm through a fraction of a millimetre."""
    low, high = rng.uniform(1080, 1500, n), rng.uniform(1900, 2520, n)
    path = log_uniform(rng, 2e-4, 1e-3, n)
    bands = {compound.name: compound.bands for compound in COMPOUNDS}
    return _measured(_foods(n, rng), low, high, path, bands, rng)


def _foods(n: int, rng: np.random.Generator) -> Array:
    """Mass fractions [n, compounds]: half of them meat, the others anything."""
    fat = rng.uniform(0.005, 0.65, (n, 1))
    lean = rng.dirichlet(300 * _LEAN + 0.01, n)
    meat = (1 - fat) * lean
    meat[:, [_NAMES.index("fat")]] += fat
    anything = rng.dirichlet(np.array([1.5, 0.8, 0.7, 0.5, 0.5, 0.3]), n)
    fractions: Array = np.where(rng.random((n, 1)) < 0.5, meat, anything)
    return fractions


def _measured(
    fractions: Array,
    low: Array,
    high: Array,
    path: Array,
    bands: dict[str, tuple[Band, ...]],
    rng: np.random.Generator,
) -> Made:
    """Absorbance of foods of these mass fractions over [low, high] nm, through `path` m."""
    grid = low[:, None] + (high - low)[:, None] * PLACE
    absorbance = np.zeros_like(grid)
    for column, name in enumerate(_NAMES):
        for band in bands[name]:
            moved = grid + rng.normal(0, 0.0015, (len(grid), 1)) * band.center  # bonds feel what is around
            strength = band.strength * np.exp(rng.normal(0, 0.08, (len(grid), 1)))
            absorbance += fractions[:, [column]] * strength * voigt(band, moved)
    absorbance *= 1000 * path[:, None]
    stray = log_uniform(rng, 1e-5, 1e-2, (len(grid), 1))
    clean = -np.log10(10.0**-absorbance + stray)
    known = {f"part_{name}": fractions[:, i] for i, name in enumerate(_NAMES)}
    nuisance = Nuisance(noise=(5e-4, 0.02), baseline=0.6, shift=0.004, coarse=0.5)
    return Made(clean, known, nuisance, np.zeros(len(grid), np.int64))
