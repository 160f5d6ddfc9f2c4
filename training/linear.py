"""Solving for linear heads: logistic and softmax regression with an L2 penalty, along a path of C.

min_W,b  sum_i w_i loss(W z_i + b, y_i) + |W|^2 / (2 C), the intercept free. One L-BFGS path from strong to
weak penalty, each solution the next one's start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from training.heads import AffineHead
from training.lbfgs import minimise
from training.methods.base import Problem

Array = NDArray[np.floating[Any]]
A = TypeVar("A", bound=NDArray[np.floating[Any]])
_SINGLE_PRECISION = 2_000_000  # multiply-adds a pass above which float32 halves the time
_TOLERANCE = {np.dtype(np.float32): 5e-4, np.dtype(np.float64): 1e-6}
_ROUGH = {np.dtype(np.float32): 3e-2, np.dtype(np.float64): 1e-2}
_NEGLIGIBLE = 0.02
"""Share of the features' power that a rough fit in single precision leaves out: along principal axes the
last 2 % are nearly half of MiniLM's dimensions, and cost nothing of CLINC150's out-of-fold loss."""


def logistic_path(
    problem: Problem, path: Sequence[float], *, rough: bool = False, weights: Array | None = None
) -> list[AffineHead]:
    """The head at each C of the ascending `path`; `weights` [n] count rows as more or less than one.

    Softmax for classification, one logistic loss a label for multilabel.
    """
    large = problem.X.size * problem.targets.shape[1] > _SINGLE_PRECISION
    kept = _leading(problem.X) if large and rough else slice(None)
    loss = _Loss(problem.X[:, kept], problem, np.dtype(np.float32 if large else np.float64), weights)
    return [_head(found, problem, kept) for found in _solve_path(loss, path, rough)]


def _leading(X: Array) -> Array | slice:
    """The dimensions of greatest power that hold all but a negligible share of it, in order."""
    power = np.einsum("ij,ij->j", X, X, dtype=np.float64)
    order = np.argsort(-power, kind="stable")
    held = np.cumsum(power[order])
    return np.sort(order[: int(np.searchsorted(held, (1 - _NEGLIGIBLE) * held[-1])) + 1])


class _Loss:
    """Sum of the losses of all rows as a function of the stacked parameters [D + 1, C]."""

    def __init__(self, X: Array, problem: Problem, dtype: np.dtype[Any], weights: Array | None) -> None:
        self.dtype = dtype
        self.Z = np.concatenate([X, np.ones((len(X), 1))], axis=1).astype(self.dtype)
        self.ZT = np.ascontiguousarray(self.Z.T)
        self.targets = problem.targets.astype(self.dtype)
        self.softmax = problem.activation == "softmax"
        self.weights = None if weights is None else np.asarray(weights, self.dtype)[:, None]
        squares = self.Z**2 if self.weights is None else self.weights * self.Z**2
        self.power = squares.sum(axis=0)[:, None]

    def __call__(self, parameters: Array) -> tuple[float, Array]:
        logits = self.Z @ parameters
        losses, probabilities = self._softmax(logits) if self.softmax else self._sigmoid(logits)
        probabilities -= self.targets
        if self.weights is not None:
            losses, probabilities = losses * self.weights[:, 0], probabilities * self.weights
        return float(losses.sum(dtype=np.float64)), self.ZT @ probabilities

    def curvature(self, parameters: Array) -> float:
        """Mean of p (1 - p): how far the loss bends, over rows and classes."""
        logits = self.Z @ parameters
        _, p = self._softmax(logits) if self.softmax else self._sigmoid(logits)
        return float((p * (1 - p)).mean())

    def _softmax(self, logits: Array) -> tuple[Array, Array]:
        """Each row's loss [n], and the probabilities [n, C]."""
        logits -= logits.max(axis=1, keepdims=True)
        correct = np.einsum("ij,ij->i", self.targets, logits)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        logits /= total
        return np.log(total[:, 0]) - correct, logits

    def _sigmoid(self, logits: Array) -> tuple[Array, Array]:
        linear = np.einsum("ij,ij->i", self.targets, logits)
        value = np.logaddexp(0, logits).sum(axis=1, dtype=np.float64) - linear
        return value, np.asarray(0.5 * (1 + np.tanh(logits / 2)), self.dtype)


def _solve_path(loss: _Loss, path: Sequence[float], rough: bool) -> list[Array]:
    """The minimiser [D + 1, C] at each C, ascending; starts are extrapolated along the path."""
    tolerance = (_ROUGH if rough else _TOLERANCE)[loss.dtype]
    start = np.zeros((loss.Z.shape[1], loss.targets.shape[1]), loss.dtype)
    return along(path, start, lambda C, start, last: _solve(loss, C, start, loss.curvature(last), tolerance))


def along(path: Sequence[float], start: A, solve: Callable[[float, A, A], A]) -> list[A]:
    """What `solve(C, start, last)` finds at each C, ascending: `start` is extrapolated from what was found
    before, and `last` is what was found last, at first the given start."""
    found: list[A] = []
    last = start
    for C in path:
        if len(found) > 1:
            start = cast(A, 2 * found[-1] - found[-2])
        last = solve(C, start, last)
        found.append(last)
        start = last
    return found


def _solve(loss: _Loss, C: float, start: Array, curvature: float, tolerance: float) -> Array:
    """Minimise in coordinates where the Hessian's diagonal is about one."""
    penalty = np.full((len(start), 1), 1 / C, loss.dtype)
    penalty[-1] = 0  # the intercept is free
    unit = np.sqrt(curvature * loss.power + penalty).astype(loss.dtype)

    def objective(scaled: Array) -> tuple[float, Array]:
        parameters = scaled / unit
        value, gradient = loss(parameters)
        shrink = penalty * parameters
        return value + 0.5 * _dot(shrink, parameters), (gradient + shrink) / unit

    return np.asarray(minimise(objective, start * unit, tolerance) / unit)


def _dot(a: Array, b: Array) -> float:
    """Inner product summed in float64: in float32 its noise would stop the line search early."""
    return float((a * b).sum(dtype=np.float64))


def _head(parameters: Array, problem: Problem, kept: Array | slice) -> AffineHead:
    """The head on all dimensions: those that were left out count nothing."""
    weight = np.zeros((parameters.shape[1], problem.X.shape[1]))
    weight[:, kept] = parameters[:-1].T
    return AffineHead(weight, parameters[-1].astype(np.float64), problem.activation)
