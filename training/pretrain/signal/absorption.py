"""X-ray absorption spectra with known parameters: chi(k), weighted by a power of k, and mu(E)."""

from __future__ import annotations

import numpy as np

from training.pretrain.signal.exafs import (
    K2_PER_EV,
    Medium,
    Paths,
    Scatterer,
    chi,
    envelope,
    phase,
    true_k,
)
from training.pretrain.signal.made import PLACE, Array, Made, Nuisance, log_uniform, numbered

HELD_OUT = (4.5, 5.5)
"""Å⁻¹: scatterers that peak here are kept for evaluation and never trained on."""
_PATHS = 3
_ENVELOPE_AT = np.linspace(16, 240, 8).astype(int)
_PHASE_AT = np.linspace(32, 224, 4).astype(int)


def scatterers(n: int, paths: int, rng: np.random.Generator, *, held_out: bool = False) -> Scatterer:
    """Random elements, one a signal and path; either those held out or all the others."""
    low, high = HELD_OUT
    centre = rng.uniform(low, high, (n, paths))
    if not held_out:
        centre = rng.uniform(1.5, 8.0, (n, paths))
        centre = np.where(centre >= low, centre + (high - low), centre)
    size = (n, paths)
    return Scatterer(
        height=rng.uniform(0.3, 1.2, size),
        narrowness=rng.uniform(0.08, 0.35, size),
        centre=centre,
        phase0=rng.uniform(-4, 4, size),
        phase1=rng.uniform(-1.3, -0.2, size),
        phase2=rng.uniform(0, 0.03, size),
    )


def neighbours(n: int, rng: np.random.Generator) -> Paths:
    """One to three shells, the first the nearest; a shell that is not there has no atoms."""
    first = rng.uniform(1.8, 3.0, n)
    gaps = rng.uniform(0.35, 1.6, (n, _PATHS - 1))
    length = np.concatenate([first[:, None], first[:, None] + np.cumsum(gaps, axis=1)], axis=1)
    number = rng.uniform(1, 12, (n, _PATHS)) * rng.uniform(0.7, 1.0, (n, 1))
    number *= np.arange(_PATHS) < rng.integers(1, _PATHS + 1, n)[:, None]
    return Paths(number, length, log_uniform(rng, 0.0015, 0.025, (n, _PATHS)))


def medium(n: int, rng: np.random.Generator) -> Medium:
    """Random mean free paths and errors of the edge."""
    return Medium(rng.uniform(0.3, 1.0, n), rng.uniform(2.0, 3.5, n), rng.uniform(-8, 8, n))


def fine_structure(n: int, rng: np.random.Generator) -> Made:
    """k^w chi(k), w from 0 to 3, over ranges of k that differ from signal to signal.

    Known of the first shell, in the units of the signal's own axis and deviation: the amplitude lost to
    disorder from one end to the other, the number of oscillations, the logarithm of its envelope at eight
    places and its phase at four. On one axis, with one element, sigma² is linear in the first and in the
    differences of the envelope; R in the second; E0 in the phases.
    """
    k = wave_numbers(n, rng)
    weight = k ** rng.integers(0, 4, n)[:, None]
    paths, scatterer, around = neighbours(n, rng), scatterers(n, _PATHS, rng), medium(n, rng)
    clean = weight * chi(k, paths, scatterer, around)
    true = true_k(k, around.e0_shift)
    deviation = clean.std(axis=1, keepdims=True)
    first = np.log(envelope(true, paths, scatterer, around)[:, 0] * weight / deviation + 1e-3)
    angle = phase(true, paths, scatterer)[:, 0, _PHASE_AT]
    lost = 2 * paths.disorder[:, 0] * (k[:, -1] ** 2 - k[:, 0] ** 2)
    known = {
        "exafs_lost": lost,
        "exafs_log_lost": np.log(lost),
        "exafs_cycles": paths.length[:, 0] * (k[:, -1] - k[:, 0]) / np.pi,
        **numbered("exafs_envelope", first[:, _ENVELOPE_AT]),
        **numbered("exafs_cos", np.cos(angle)),
        **numbered("exafs_sin", np.sin(angle)),
    }
    return Made(clean, known, Nuisance(noise=(2e-3, 0.08), baseline=0.02), np.zeros(n, np.int64))


def wave_numbers(n: int, rng: np.random.Generator) -> Array:
    """Nominal k [n, POINTS], Å⁻¹, from 2 to 4 up to 10 to 16."""
    low, high = rng.uniform(2.0, 4.0, (n, 1)), rng.uniform(10.0, 16.0, (n, 1))
    return low + (high - low) * PLACE


def edges(n: int, rng: np.random.Generator) -> Made:
    """mu(E) normalised to a step of 1, with its white line and fine structure.

    Known: where the edge is, how wide, how high the white line, and the strength of the fine structure.
    """
    low, high = rng.uniform(-60, -15, (n, 1)), log_uniform(rng, 80, 800, (n, 1))
    edge = rng.uniform(-3, 3, n)
    energy = low + (high - low) * PLACE - edge[:, None]
    width, white = log_uniform(rng, 0.6, 4.0, n), rng.uniform(0, 1.5, n)
    apart = rng.uniform(1, 4, n) * width
    reduced = (energy - apart[:, None]) / width[:, None]
    step = 0.5 + np.arctan(energy / width[:, None]) / np.pi
    k = np.sqrt(np.maximum(K2_PER_EV * energy, 1e-9))
    rise = np.clip((k - 1.0) / 2.0, 0, 1)  # below k = 3 the equation does not hold
    waves = rise * chi(np.maximum(k, 1.0), neighbours(n, rng), scatterers(n, _PATHS, rng), medium(n, rng))
    slope = rng.normal(0, 0.03, (n, 2)) @ np.stack([PLACE, PLACE**2])
    clean = step * (1 + waves) + white[:, None] / (1 + reduced**2) + slope
    known = {
        "edge_at": (edge - low[:, 0]) / (high - low)[:, 0],
        "edge_width": np.log(width / (high - low)[:, 0]),
        "edge_white": white,
        "edge_waves": np.log(waves.std(axis=1) + 1e-4),
    }
    return Made(clean, known, Nuisance(noise=(1e-3, 0.03), baseline=0.02), np.zeros(n, np.int64))
