"""What a generator of signals gives: the clean curves, what is known of them, what disturbs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
POINTS = 256
PLACE: Array = np.linspace(0.0, 1.0, POINTS)
"""Position along a signal, 0 at its first point and 1 at its last."""


@dataclass(frozen=True)
class Nuisance:
    """How two measurements of one clean signal differ; sizes are relative to the signal's deviation.

    `noise`: least and greatest standard deviation of white noise, drawn log-uniformly.
    `baseline`: standard deviation of each Legendre coefficient of a slow drift.
    `shift`, `warp`: greatest displacement along the axis, rigid and smoothly varying, as fractions of it.
    `coarse`: chance that the signal was measured at fewer points than the grid has.
    """

    noise: tuple[float, float]
    baseline: float = 0.0
    shift: float = 0.0
    warp: float = 0.0
    coarse: float = 0.0


@dataclass(frozen=True)
class Made:
    """`n` clean signals [n, POINTS], their known parameters (name -> [n], any scale), and a kind [n].

    `kind` numbers the process that made a signal within its generator.
    """

    clean: Array
    known: Mapping[str, Array]
    nuisance: Nuisance
    kind: NDArray[np.int64]


def numbered(prefix: str, columns: Array) -> dict[str, Array]:
    """The columns of [n, m] as parameters `prefix0` to `prefix(m-1)`."""
    return {f"{prefix}{i}": columns[:, i] for i in range(columns.shape[1])}


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...]) -> Array:
    """Numbers whose logarithm is uniform between those of `low` and `high`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def standardised(signals: Array) -> Array:
    """Each row [n, points] to mean 0 and deviation 1; a constant row becomes zeros."""
    centred = signals - signals.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    scaled: Array = centred / np.maximum(deviation, 1e-12)
    return scaled
