"""Functions of a few numbers as sums over a basis: Fourier, cubic splines, or learned from curves.

Every basis is one shape, so that one graph serves them all: the inputs x [n, d] are clipped, sent through
an affine map and one elementwise function f, and mixed,

    design(x) = f((clip(x) - origin) @ slopes + offsets) @ mixing + constant,

with f(z) = sin z (Fourier), the cubic B-spline of knots one apart (splines), or max(0, 1 - |z|), the hat
function of linear interpolation (learned). Of several inputs each gets functions of its own: the model is
additive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.signals.augment import noise_level
from training.signals.smooth import smoothed

Array = NDArray[np.float64]
Kind = Literal["sine", "bump", "hat"]
_FREE = float(np.finfo(np.float32).max)  # the clip that clips nothing
_FLAT = 10.0  # spread of the constant, of which nothing is known
_LEAST_PIECES = 8
_QUADRATURE = 2000  # places at which means over the range are taken
_RANK = 1e-9


@dataclass(frozen=True, eq=False)
class Basis:
    """P elementwise functions of d inputs, mixed into M basis functions.

    `slopes` [d, P], `offsets` [P], `mixing` [P, M], `constant` [M]; inputs are clipped to `low` and `high`
    [d], and `origin` [d] is taken off first, exactly, so that float32 serves a narrow range far from 0.
    A coefficient is expected to be `centre` [M], give or take `spread` [M]: a spread of 0 means that it is
    known. Spreads are in the values' own units where `absolute`, else relative to one common scale that
    the examples decide, and the first function is the constant 1. `noise` is the standard deviation of the
    values around the curve that is to be expected, where something is known of it.
    """

    kind: Kind
    origin: Array
    slopes: Array
    offsets: Array
    mixing: Array
    constant: Array
    low: Array
    high: Array
    centre: Array
    spread: Array
    absolute: bool = False
    noise: float | None = None

    @property
    def coefficients(self) -> int:
        """How many numbers the examples have to determine."""
        return int((self.spread > 0).sum())

    def design(self, x: NDArray[Any]) -> Array:
        """The basis functions [n, M] at `x` [n, d]."""
        inside = np.clip(np.asarray(x, np.float64), self.low, self.high)
        waves = apply(self.kind, (inside - self.origin) @ self.slopes + self.offsets)
        return np.asarray(waves @ self.mixing + self.constant)


def apply(kind: Kind, z: Array) -> Array:
    """The elementwise function of a kind of basis."""
    if kind == "sine":
        return np.asarray(np.sin(z))
    one, two = np.maximum(0, 1 - np.abs(z)), np.maximum(0, 2 - np.abs(z))
    return np.asarray(one if kind == "hat" else (two**3 - 4 * one**3) / 6)


def fourier(low: Array, count: int, period: Array, smooth: float) -> Basis:
    """1, then sin and cos of 2 pi j (x - low) / period for j = 1, 2, ... of each input: `count` in all.

    A `period` [d] longer than the range leaves functions free to differ at their two ends; nothing is
    clipped. Spreads are 1 / (1 + (j / smooth)^4): flat up to harmonic `smooth`, then falling fast.
    """
    inputs, waves = len(low), count - 1
    place, term = np.arange(waves) % inputs, np.arange(waves) // inputs
    harmonic = 1 + term // 2
    slopes = np.zeros((inputs, waves))
    slopes[place, np.arange(waves)] = 2 * np.pi * harmonic / period[place]
    return Basis(
        kind="sine",
        origin=low,
        slopes=slopes,
        offsets=np.where(term % 2, np.pi / 2, 0.0),
        mixing=np.eye(waves, count, 1),
        constant=np.eye(1, count)[0],
        low=np.full(inputs, -_FREE),
        high=np.full(inputs, _FREE),
        centre=np.zeros(count),
        spread=np.concatenate([[_FLAT], 1 / (1 + (harmonic / smooth) ** 4)]),
    )


def splines(low: Array, high: Array, count: int, smooth: float) -> Basis:
    """1, then smooth functions of each input in turn, `count` in all, their ends held outside [low, high].

    They are the cubic splines on even knots that are orthogonal both in value and in second derivative, the
    smoothest first (Demmler and Reinsch 1975). Spreads are 1 / sqrt(1 + roughness / (pi smooth)^4): those
    of a smoothing spline, but that the straight line has a spread too.
    """
    inputs, waves = len(low), count - 1
    each = -(-waves // inputs)
    mixing, roughness = _demmler_reinsch(each)
    place, order = np.arange(waves) % inputs, np.arange(waves) // inputs
    bumps = len(mixing)
    steps = (bumps - 3) / (high - low)
    mixed = np.zeros((inputs, bumps, count))
    mixed[place, :, 1 + np.arange(waves)] = mixing.T[order]
    return Basis(
        kind="bump",
        origin=low,
        slopes=np.repeat(np.diag(steps), bumps, axis=1),
        offsets=np.tile(1.0 - np.arange(bumps), inputs),
        mixing=mixed.reshape(inputs * bumps, count),
        constant=np.eye(1, count)[0],
        low=low,
        high=high,
        centre=np.zeros(count),
        spread=np.concatenate([[_FLAT], 1 / np.sqrt(1 + roughness[order] / (np.pi * smooth) ** 4)]),
    )


def _demmler_reinsch(count: int) -> tuple[Array, Array]:
    """The `count` smoothest splines on [0, 1] of mean 0 and mean square 1, apart from each other.

    As sums of B-splines centred one knot outside to one knot outside, [B, count]; and their mean squared
    second derivatives [count], rising from 0, that of the straight line.
    """
    pieces = max(_LEAST_PIECES, count)
    at = (np.arange(_QUADRATURE) + 0.5) / _QUADRATURE
    z = at[:, None] * pieces + 1 - np.arange(pieces + 3)
    one, two = np.maximum(0, 1 - np.abs(z)), np.maximum(0, 2 - np.abs(z))
    values, bends = apply("bump", z), pieces**2 * (two - 4 * one)
    values = values - values.mean(axis=0)
    power, axes = np.linalg.eigh(values.T @ values / _QUADRATURE)
    whiten = axes[:, 1:] / np.sqrt(power[1:])  # the first is the constant, which all B-splines add up to
    roughness, turn = np.linalg.eigh(whiten.T @ (bends.T @ bends) @ whiten / _QUADRATURE)
    mixing = whiten @ turn[:, :count]
    mixing -= apply("bump", z).mean(axis=0) @ mixing  # B-splines add up to 1 everywhere
    return mixing, np.maximum(roughness[:count], 0)


def learned(curves: NDArray[Any], low: float, high: float, rank: int) -> Basis:
    """The mean of `curves` [m, G] and their first principal components, `rank` at most, on [low, high].

    Each curve is one function at G even places; beyond them its ends are held. A component's coefficient is
    expected to vary as it did among the curves, so only the components are left to the examples. Those that
    the curves' own noise of variance s^2 explains are none: noise alone gives components of variance up to
    s^2 (1 + sqrt(G / m))^2 (Marchenko and Pastur 1967).
    """
    curves = np.asarray(curves, np.float64)
    count, points = curves.shape
    mean = curves.mean(axis=0)
    _, size, components = np.linalg.svd(curves - mean, full_matrices=False)
    variance = size**2 / max(1, count - 1)
    noise = noise_level(curves) ** 2
    real = variance > max(noise * (1 + np.sqrt(points / count)) ** 2, _RANK**2 * variance[0])
    rank = max(1, min(rank, int(real.sum())))
    step = (high - low) / (points - 1)
    functions = smoothed(np.vstack([mean, components[:rank]]))
    return Basis(
        kind="hat",
        origin=np.array([low]),
        slopes=np.full((1, points), 1 / step),
        offsets=-np.arange(points, dtype=np.float64),
        mixing=functions.T,
        constant=np.zeros(1 + rank),
        low=np.array([low]),
        high=np.array([high]),
        centre=np.eye(1, 1 + rank)[0],
        spread=np.concatenate([[0.0], np.sqrt(np.maximum(variance[:rank] - noise, 0))]),
        absolute=True,
        noise=float(np.sqrt(noise)),
    )
