"""A small simulator of near-infrared absorption spectra: a mixture in a cell, seen by a spectrometer.

Beer-Lambert: A = path x sum of concentration x absorption coefficient. Then what a real measurement adds:
light scattered by the sample (multiplicative and additive, the model that MSC inverts: Geladi, MacDonald
and Martens, Applied Spectroscopy 39, 1985), a drifting baseline, an error of the wavelength scale, the
instrument's finite slit, which averages light and not absorbance, and noise of the detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from training.pretrain.materials import COMPOUNDS, FOODS, Band, Compound, Material

Array = NDArray[np.float64]
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Sampling:
    """How samples are presented to the light. The defaults are a thin cell of a liquid, faintly turbid.

    `path`: mean path length in m; `path_spread`: its relative standard deviation.
    `gain_spread`: standard deviation of the logarithm of the multiplicative scatter;
    `offset_spread`: that of the additive scatter, in absorbance units.
    """

    path: float = 0.4e-3
    path_spread: float = 0.01
    gain_spread: float = 0.02
    offset_spread: float = 0.008


@dataclass(frozen=True)
class Instrument:
    """A spectrometer. The defaults are those of a diode array of the process kind.

    `start`, `stop`: ends of the wavelength grid in nm; `points`: how many, evenly spaced.
    `slit`: full width at half maximum of the Gaussian slit function in nm, 0 for none.
    `shift_spread`: standard deviation of the wavelength error in nm.
    `baseline_spread`, `baseline_degree`: standard deviation in absorbance units of each Legendre
    coefficient of the drift, and its degree.
    `noise`: standard deviation of the detector's noise, as a fraction of full light.
    """

    start: float = 1100.0
    stop: float = 2500.0
    points: int = 200
    slit: float = 12.0
    shift_spread: float = 1.0
    baseline_spread: float = 0.004
    baseline_degree: int = 3
    noise: float = 2e-4

    @property
    def grid(self) -> Array:
        """Nominal wavelengths [points], nm."""
        return np.linspace(self.start, self.stop, self.points)


IDEAL_SAMPLING = Sampling(path_spread=0.0, gain_spread=0.0, offset_spread=0.0)
IDEAL_INSTRUMENT = Instrument(slit=0.0, shift_spread=0.0, baseline_spread=0.0, noise=0.0)


class Spectra(NamedTuple):
    """Simulated measurements.

    `x` [n, points] float32, absorbance units; `grid` [points] float64, nm; `labels`, the name of each
    row's material; `concentrations` [n, compounds] float64, kg/m³, columns as in `COMPOUNDS`.
    """

    x: NDArray[np.float32]
    grid: Array
    labels: tuple[str, ...]
    concentrations: Array


def simulate(
    n: int,
    seed: int,
    *,
    materials: Sequence[Material] = FOODS,
    sampling: Sampling = Sampling(),
    instrument: Instrument = Instrument(),
) -> Spectra:
    """Measure `n` samples, the materials taking turns. Equal arguments give equal spectra.

    With equal `seed`, an effect switched off leaves the composition and all other effects as they were,
    so that two calls give pairs of clean and disturbed spectra of the same samples.
    """
    rng = np.random.default_rng(seed)
    turns = [materials[i % len(materials)] for i in range(n)]
    concentrations = np.array([compose(material, rng) for material in turns]).reshape(n, len(COMPOUNDS))
    absorbance = measure(concentrations, rng, sampling, instrument)
    labels = tuple(material.name for material in turns)
    return Spectra(absorbance.astype(np.float32), instrument.grid, labels, concentrations)


def compose(material: Material, rng: np.random.Generator) -> Array:
    """The concentrations [compounds] of one sample of a material, kg/m³. They add up to its density."""
    fractions = rng.dirichlet(material.steadiness * np.array(list(material.recipe.values())))
    amounts = dict(zip(material.recipe, material.density * fractions, strict=True))
    return np.array([amounts.get(compound, 0.0) for compound in COMPOUNDS])


def measure(
    concentrations: Array, rng: np.random.Generator, sampling: Sampling, instrument: Instrument
) -> Array:
    """Absorbance [n, points] reported for samples of these concentrations [n, compounds], kg/m³."""
    n = len(concentrations)
    path = sampling.path * (1 + sampling.path_spread * rng.standard_normal(n))
    shift = instrument.shift_spread * rng.standard_normal(n)
    absorbance = beer_lambert(concentrations, path, instrument.grid + shift[:, None])
    gain = np.exp(sampling.gain_spread * rng.standard_normal(n))
    offset = sampling.offset_spread * rng.standard_normal(n)
    lost = offset[:, None] + gain[:, None] * absorbance + baseline(n, rng, instrument)
    return detect(lost, rng, instrument)


def beer_lambert(concentrations: Array, path: Array, wavelengths: Array) -> Array:
    """Absorbance [n, points] of mixtures: path [n] (m) x sum over compounds of concentration x coefficient.

    `concentrations` [n, compounds] in kg/m³; `wavelengths` [n, points] in nm, a grid for each sample.
    """
    total = np.zeros_like(wavelengths)
    for column, compound in enumerate(COMPOUNDS):
        total += concentrations[:, column, None] * coefficient(compound, wavelengths)
    return path[:, None] * total


def coefficient(compound: Compound, wavelengths: Array) -> Array:
    """Decadic mass absorption coefficient at `wavelengths` (nm, any shape), m²/kg."""
    total = np.zeros_like(wavelengths)
    for band in compound.bands:
        total += band.strength * voigt(band, wavelengths)
    return total


def voigt(band: Band, wavelengths: Array) -> Array:
    """Voigt profile with peak 1, as the weighted sum of a Gaussian and a Lorentzian of one width.

    Thompson, Cox and Hastings, Journal of Applied Crystallography 20 (1987) 79; the error is about 1 %
    of the peak.
    """
    g, f = band.gaussian, band.lorentzian
    terms = (g**5, 2.69269 * g**4 * f, 2.42843 * g**3 * f**2, 4.47163 * g**2 * f**3, 0.07842 * g * f**4, f**5)
    width = sum(terms) ** 0.2
    ratio = f / width
    area = 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3
    # The paper weighs profiles of equal area; a Gaussian of the same area and width is the taller.
    peak = area / (area + (1 - area) * np.sqrt(np.pi * np.log(2)))
    squared: Array = (2 * (wavelengths - band.center) / width) ** 2
    profile: Array = peak / (1 + squared) + (1 - peak) * np.exp2(-squared)
    return profile


def baseline(n: int, rng: np.random.Generator, instrument: Instrument) -> Array:
    """Drift [n, points] in absorbance units: a Legendre series in wavelength with random coefficients."""
    where = np.linspace(-1, 1, instrument.points)
    terms = legendre.legvander(where, instrument.baseline_degree)
    return instrument.baseline_spread * rng.standard_normal((n, terms.shape[1])) @ terms.T


def detect(absorbance: Array, rng: np.random.Generator, instrument: Instrument) -> Array:
    """Absorbance [n, points] as read from light that `absorbance` weakened: blurred, with noise."""
    noise = instrument.noise * rng.standard_normal(absorbance.shape)
    light = blur(10.0**-absorbance, instrument) + noise
    # A dark channel still reports a number: no less light than a tenth of the noise.
    return -np.log10(np.maximum(light, max(instrument.noise / 10, 1e-12)))


def blur(light: Array, instrument: Instrument) -> Array:
    """`light` [n, points] through the Gaussian slit; at the ends the average is over what there is."""
    if instrument.slit == 0:
        return light
    apart = instrument.grid[:, None] - instrument.grid
    window = np.exp(-0.5 * (apart * FWHM_PER_SIGMA / instrument.slit) ** 2)
    seen: Array = light @ (window / window.sum(axis=1))
    return seen
