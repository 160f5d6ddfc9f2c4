"""Training the layers of a column: backpropagation by hand, L-BFGS, from seeded random layers.

min (1/n) (sum_i loss(logits_i, y_i) + sum over all matrices of |W|^2 / (2 C)), biases free. Not convex: where
it ends depends on where it begins, so equal problems with equal seeds give equal columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibrate import losses
from training.columns import Column, Lateral, Layer
from training.heads import activate
from training.lbfgs import Objective, minimise
from training.methods.base import Problem

Array = NDArray[np.floating[Any]]
_TOLERANCE = 1e-4
_ITERATIONS = 300


def random_layer(below: int, width: int, rng: np.random.Generator) -> Layer:
    """Random weights such that rows of unit norm stay of unit norm behind the ReLU (He et al. 2015)."""
    return Layer(_random(below, width, rng), np.zeros(width))


def adapted(layer: Layer, part: int, dim: int, adapter: int, rng: np.random.Generator) -> Layer:
    """The layer with a lateral connection, through an adapter, from a part of `dim`."""
    width = len(layer.bias)
    side = Lateral(part, _random(adapter, width, rng), _random(dim, adapter, rng), np.zeros(adapter))
    return replace(layer, lateral=side)


def _random(below: int, width: int, rng: np.random.Generator) -> Array:
    return np.asarray(np.sqrt(2.0 / width) * rng.standard_normal((width, below)))


def fit_column(
    problem: Problem,
    start: Sequence[Layer],
    widths: Sequence[int],
    C: float,
    *,
    beside: float = 1.0,
) -> Column:
    """What `start` becomes on the problem's features, which consist of parts of `widths`.

    The penalty is `beside` times as strong on all matrices but those that take a part directly.
    """
    centre, scale = _units(problem)
    objective, packed = objective_of(problem, start, widths, C, beside)
    found = _unpacked(minimise(objective, packed, _TOLERANCE, _ITERATIONS), start)
    column = Column(found, tuple(widths), problem.activation)
    return column.scaled(scale).shifted(centre) if problem.activation == "identity" else column


def objective_of(
    problem: Problem, start: Sequence[Layer], widths: Sequence[int], C: float, beside: float
) -> tuple[Objective, Array]:
    """What is minimised, as a function of all numbers of the layers in a row; and where it begins."""
    centre, scale = _units(problem)
    column = Column(tuple(start), tuple(widths), problem.activation)
    truth = (problem.targets - centre) / scale
    objective = _Objective(column, column.parts(np.asarray(problem.X, np.float64)), truth, C, beside)
    return objective, np.concatenate([array.ravel() for array in _all(start)])


def _units(problem: Problem) -> tuple[NDArray[np.float64], float]:
    """Middle [K] and size of a regression's values; nothing for other tasks."""
    if problem.activation != "identity":
        return np.zeros(problem.targets.shape[1]), 1.0
    return problem.targets.mean(axis=0), float(problem.targets.std()) or 1.0


def _all(layers: Sequence[Layer]) -> list[Array]:
    return [array for layer in layers for array in layer.arrays]


def _unpacked(packed: Array, like: Sequence[Layer]) -> tuple[Layer, ...]:
    shapes = [array.shape for array in _all(like)]
    ends = list(accumulate(math.prod(shape) for shape in shapes))
    pieces = iter(zip(np.split(packed, ends[:-1]), shapes, strict=True))
    return tuple(
        layer.with_arrays([piece.reshape(shape) for piece, shape in islice(pieces, len(layer.arrays))])
        for layer in like
    )


@dataclass(frozen=True, eq=False)
class _Objective:
    """Penalised mean loss of all numbers of a column in a row, and its gradient."""

    column: Column
    parts: list[Array]
    truth: NDArray[np.float64]
    C: float
    beside: float

    def __call__(self, packed: Array) -> tuple[float, Array]:
        layers = _unpacked(packed, self.column.layers)
        seen = [self.parts[0]]
        for layer in layers[:-1]:
            seen.append(np.maximum(layer.logits(seen[-1], self.parts), 0))
        value, slope = self._loss(layers[-1].logits(seen[-1], self.parts))
        gradients: list[Array] = []
        for layer, below in zip(reversed(layers), reversed(seen), strict=True):
            gradients = [*_gradients(layer, below, self.parts, slope), *gradients]
            slope = (slope @ layer.weight) * (below > 0)
        shrunk = [array for layer in layers for array in self._shrunk(layer)]
        value += 0.5 * sum(
            float(np.vdot(array, more)) for array, more in zip(_all(layers), shrunk, strict=True)
        )
        pairs = zip(gradients, shrunk, strict=True)
        return value, np.concatenate([(gradient + more).ravel() for gradient, more in pairs])

    def _shrunk(self, layer: Layer) -> list[Array]:
        """The penalty's gradient by each of the layer's arrays."""
        unit = 1 / (self.C * len(self.truth))
        direct = None if layer.lateral is None or layer.lateral.adapter is not None else layer.lateral.weight
        rates = (unit if array is direct else unit * self.beside for array in layer.arrays)
        return [
            (rate if array.ndim == 2 else 0.0) * array
            for rate, array in zip(rates, layer.arrays, strict=True)
        ]

    def _loss(self, logits: Array) -> tuple[float, Array]:
        """The mean loss and its slope [n, C] at the logits."""
        activation, n = self.column.activation, len(self.truth)
        value = float(losses(activation, logits, self.truth).mean())
        slope = (activate(activation, logits) - self.truth) / n
        return value, 2 * slope / logits.shape[1] if activation == "identity" else slope


def _gradients(layer: Layer, below: Array, parts: Sequence[Array], slope: Array) -> list[Array]:
    """Of the layer's arrays, from the slope [n, h] at what it gives before its ReLU."""
    found = [slope.T @ below, slope.sum(axis=0)]
    side = layer.lateral
    if side is None:
        return found
    seen = side.seen(parts)
    found.append(slope.T @ seen)
    if side.adapter is None:
        return found
    behind = (slope @ side.weight) * (seen > 0)
    return [*found, behind.T @ parts[side.part], behind.sum(axis=0)]
