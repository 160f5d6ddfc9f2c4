"""What absorbs: bands, compounds with their near-infrared bands, and the recipes of materials.

Band positions follow the usual assignments of near-infrared chemistry (Workman and Weyer, Practical
Guide to Interpretive Near-Infrared Spectroscopy, 2008), rounded. Widths and strengths have the right
order of magnitude, water's from its known absorption; they are for simulation, not for reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Band:
    """One absorption band, a Voigt profile.

    Units: `center`, `gaussian` and `lorentzian` (full widths at half maximum) in nm; `strength`, the
    decadic mass absorption coefficient at the centre, in m²/kg. A width of zero leaves the pure other
    shape.
    """

    center: float
    gaussian: float
    lorentzian: float
    strength: float


@dataclass(frozen=True)
class Compound:
    """A pure substance and its bands."""

    name: str
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class Material:
    """A mixture whose composition varies from sample to sample.

    `recipe` holds the mean mass fraction of each compound (they add up to 1); the fractions of a sample
    follow Dirichlet(`steadiness` x mean), so the greater `steadiness`, the less they vary.
    `density` is in kg/m³.
    """

    name: str
    recipe: Mapping[Compound, float]
    steadiness: float
    density: float = 1000.0


WATER = Compound(
    "water",
    (
        Band(1190, 60, 20, 0.045),
        Band(1450, 80, 35, 1.1),
        Band(1790, 90, 30, 0.22),
        Band(1940, 70, 35, 4.6),
        Band(2620, 300, 60, 6.0),  # the foot of the fundamental, which lifts the long end
    ),
)
FAT = Compound(
    "fat",
    (
        Band(1210, 35, 15, 0.10),
        Band(1392, 30, 10, 0.06),
        Band(1414, 30, 10, 0.06),
        Band(1725, 25, 12, 0.75),
        Band(1762, 25, 12, 0.60),
        Band(2308, 28, 14, 2.3),
        Band(2347, 26, 14, 1.8),
    ),
)
PROTEIN = Compound(
    "protein",
    (
        Band(1187, 40, 15, 0.05),
        Band(1510, 60, 25, 0.24),
        Band(1692, 40, 15, 0.26),
        Band(1738, 40, 15, 0.25),
        Band(1980, 60, 20, 0.70),
        Band(2055, 55, 25, 1.1),
        Band(2175, 50, 25, 1.25),
        Band(2290, 45, 20, 0.9),
    ),
)
SUGAR = Compound(
    "sugar",
    (
        Band(1200, 45, 15, 0.05),
        Band(1440, 50, 20, 0.35),
        Band(1580, 90, 35, 0.38),
        Band(1695, 45, 20, 0.22),
        Band(2075, 70, 30, 1.3),
        Band(2275, 40, 20, 1.15),
        Band(2325, 40, 20, 1.0),
    ),
)
STARCH = Compound(
    "starch",
    (
        Band(1205, 45, 15, 0.05),
        Band(1465, 70, 25, 0.42),
        Band(1585, 80, 30, 0.35),
        Band(1702, 50, 20, 0.20),
        Band(1928, 60, 25, 0.75),
        Band(2100, 75, 30, 1.5),
        Band(2282, 42, 20, 1.2),
        Band(2322, 40, 20, 1.1),
        Band(2488, 60, 25, 1.3),
    ),
)
ETHANOL = Compound(
    "ethanol",
    (
        Band(1185, 35, 15, 0.07),
        Band(1412, 35, 15, 0.12),
        Band(1580, 110, 30, 0.50),
        Band(1694, 22, 10, 0.62),
        Band(1734, 28, 10, 0.36),
        Band(2076, 95, 25, 1.1),
        Band(2272, 24, 10, 2.3),
        Band(2306, 24, 10, 2.5),
        Band(2348, 24, 10, 1.6),
    ),
)

COMPOUNDS: tuple[Compound, ...] = (WATER, FAT, PROTEIN, SUGAR, STARCH, ETHANOL)
"""Every compound, in the order of the columns of simulated concentrations."""

FOODS: tuple[Material, ...] = (
    Material("milk", {WATER: 0.875, FAT: 0.040, PROTEIN: 0.035, SUGAR: 0.050}, 600),
    Material("yoghurt", {WATER: 0.800, FAT: 0.035, PROTEIN: 0.045, SUGAR: 0.120}, 600),
    Material("soy drink", {WATER: 0.885, FAT: 0.020, PROTEIN: 0.080, SUGAR: 0.015}, 600),
    Material("cream", {WATER: 0.680, FAT: 0.270, PROTEIN: 0.022, SUGAR: 0.028}, 300),
    Material("custard", {WATER: 0.740, FAT: 0.040, PROTEIN: 0.040, SUGAR: 0.120, STARCH: 0.060}, 300),
    Material("batter", {WATER: 0.680, FAT: 0.030, PROTEIN: 0.060, SUGAR: 0.020, STARCH: 0.210}, 300),
)
"""The six materials of the classification set: all mostly water, told apart by the rest."""

WORT = Material("wort", {WATER: 0.870, SUGAR: 0.070, ETHANOL: 0.055, PROTEIN: 0.005}, 80)
"""A fermenting wort, of which the ethanol is to be measured."""
