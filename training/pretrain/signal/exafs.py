"""X-ray absorption fine structure by the EXAFS equation, and spectra made of it.

    chi(k) = sum over paths of S0² N f(k) / (k R²) exp(-2 sigma² k² - 2 R / lambda(k)) sin(2 k R + phi(k))

(Sayers, Stern and Lytle, Physical Review Letters 27 (1971) 1204; Rehr and Albers, Reviews of Modern Physics
72 (2000) 621.) Back-scattering amplitude and phase are the parametrised ones of Teo, Lee, Simons,
Eisenberger and Kincaid, Journal of the American Chemical Society 99 (1977) 3854:
f(k) = A / (1 + B² (k - C)²), phi(k) = p0 + p1 k + p2 k², and lambda(k) = (k + (eta / k)⁴) / gamma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.pretrain.signal.made import Array

K2_PER_EV = 0.2624682843
"""2 m_e / hbar²: k² in Å⁻² of one eV above the edge."""


@dataclass(frozen=True)
class Scatterer:
    """What an element does to the wave, one value a signal and path: arrays [n, paths], or numbers.

    `height` (A) in Å, `narrowness` (B) in Å, `centre` (C) in Å⁻¹; `phase0`, `phase1` (Å), `phase2` (Å²).
    """

    height: Array
    narrowness: Array
    centre: Array
    phase0: Array
    phase1: Array
    phase2: Array


@dataclass(frozen=True)
class Paths:
    """Where the neighbours are: arrays [n, paths].

    `number` N (with S0² in it), `length` R in Å, `disorder` sigma² in Å².
    """

    number: Array
    length: Array
    disorder: Array


@dataclass(frozen=True)
class Medium:
    """The electron on its way, and the origin of its energy: arrays [n].

    `gamma` in Å⁻² and `eta` in Å⁻¹ set the mean free path; `e0_shift` in eV is how far the true edge lies
    above the one that was assumed.
    """

    gamma: Array
    eta: Array
    e0_shift: Array


def true_k(k: Array, e0_shift: Array) -> Array:
    """The wave number [n, points] behind the nominal `k` [n, points] of an edge `e0_shift` [n] higher."""
    squared = k**2 - K2_PER_EV * e0_shift[:, None]
    return np.sqrt(np.maximum(squared, 0.25))


def envelope(k: Array, paths: Paths, scatterer: Scatterer, medium: Medium) -> Array:
    """Amplitude [n, paths, points] of each path at true wave numbers `k` [n, points]."""
    wave = k[:, None, :]
    f = scatterer.height[..., None] / (
        1 + (scatterer.narrowness[..., None] * (wave - scatterer.centre[..., None])) ** 2
    )
    free = (wave + (medium.eta[:, None, None] / wave) ** 4) / medium.gamma[:, None, None]
    length = paths.length[..., None]
    damping = np.exp(-2 * paths.disorder[..., None] * wave**2 - 2 * length / free)
    amplitude: Array = paths.number[..., None] * f * damping / (wave * length**2)
    return amplitude


def phase(k: Array, paths: Paths, scatterer: Scatterer) -> Array:
    """Argument of the sine [n, paths, points] at true wave numbers `k` [n, points]."""
    wave = k[:, None, :]
    shift = (
        scatterer.phase0[..., None]
        + (scatterer.phase1[..., None] + scatterer.phase2[..., None] * wave) * wave
    )
    angle: Array = 2 * wave * paths.length[..., None] + shift
    return angle


def chi(k: Array, paths: Paths, scatterer: Scatterer, medium: Medium) -> Array:
    """The fine structure [n, points] at nominal wave numbers `k` [n, points], Å⁻¹."""
    true = true_k(k, medium.e0_shift)
    waves = envelope(true, paths, scatterer, medium) * np.sin(phase(true, paths, scatterer))
    total: Array = waves.sum(axis=1)
    return total
