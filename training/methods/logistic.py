"""L2-penalised logistic regression on frozen features: the method to beat.

Classification: min_W,b  sum_i -log softmax(W z_i + b)[y_i] + |W|^2 / (2 C), the intercept free
(Hastie, Tibshirani, Friedman 2009, section 4.4). Multilabel: the same with one logistic loss a label.
C is chosen on the path 10, 0.1, 1, 100, where C = 10 stays unless another is clearly better: on features
of unit mean square norm it is within noise of the best from 2 to 50 examples a class, and picking the
lowest cross-validated loss among many loses to it (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.heads import AffineHead
from training.lbfgs import minimise
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register

Array = NDArray[np.floating[Any]]
_GRID = (10.0, 0.1, 1.0, 100.0)
_SINGLE_PRECISION = 2_000_000  # multiply-adds a pass above which float32 halves the time
_TOLERANCE = {np.dtype(np.float32): 5e-4, np.dtype(np.float64): 1e-6}
_ROUGH = {np.dtype(np.float32): 3e-2, np.dtype(np.float64): 1e-2}


class LogisticHyperparameters(Hyperparameters):
    C: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="inverse strength of the penalty, on features scaled to unit mean square norm",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        return [{"C": C} for C in _GRID] if self.C == "auto" else [{"C": float(self.C)}]


class Logistic:
    """One L-BFGS path over C, from strong to weak penalty, each solution the next one's start."""

    info = MethodInfo(
        name="logistic",
        title="Logistic regression on frozen features",
        tasks=("classification", "multilabel"),
        setting="inductive",
        source="Multinomial logistic regression with an L2 penalty; Hastie, Tibshirani, Friedman 2009, 4.4",
        hyperparameters=LogisticHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        path = sorted({float(setting["C"]) for setting in grid})  # type: ignore[arg-type]
        solutions = dict(zip(path, _solve_path(_Loss(problem), path, rough), strict=True))
        return [
            Fitted(_head(solutions[float(setting["C"])], problem), setting)  # type: ignore[arg-type]
            for setting in grid
        ]


class _Loss:
    """Sum of the losses of all rows as a function of the stacked parameters [D + 1, C]."""

    def __init__(self, problem: Problem) -> None:
        n, classes = problem.targets.shape
        cost = n * problem.X.shape[1] * classes
        self.dtype = np.dtype(np.float32 if cost > _SINGLE_PRECISION else np.float64)
        self.Z = np.concatenate([problem.X, np.ones((n, 1))], axis=1).astype(self.dtype)
        self.ZT = np.ascontiguousarray(self.Z.T)
        self.targets = problem.targets.astype(self.dtype)
        self.softmax = problem.activation == "softmax"
        self.power = (self.Z**2).sum(axis=0)[:, None]

    def __call__(self, parameters: Array) -> tuple[float, Array]:
        logits = self.Z @ parameters
        value, probabilities = self._softmax(logits) if self.softmax else self._sigmoid(logits)
        probabilities -= self.targets
        return value, self.ZT @ probabilities

    def curvature(self, parameters: Array) -> float:
        """Mean of p (1 - p): how far the loss bends, over rows and classes."""
        logits = self.Z @ parameters
        _, p = self._softmax(logits) if self.softmax else self._sigmoid(logits)
        return float((p * (1 - p)).mean())

    def _softmax(self, logits: Array) -> tuple[float, Array]:
        logits -= logits.max(axis=1, keepdims=True)
        correct = _dot(self.targets, logits)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        logits /= total
        return float(np.log(total).sum(dtype=np.float64)) - correct, logits

    def _sigmoid(self, logits: Array) -> tuple[float, Array]:
        value = float(np.logaddexp(0, logits).sum(dtype=np.float64)) - _dot(self.targets, logits)
        return value, np.asarray(0.5 * (1 + np.tanh(logits / 2)), self.dtype)


def _solve_path(loss: _Loss, path: Sequence[float], rough: bool) -> list[Array]:
    """The minimiser [D + 1, C] at each C, ascending; starts are extrapolated along the path."""
    tolerance = (_ROUGH if rough else _TOLERANCE)[loss.dtype]
    found: list[Array] = []
    start = np.zeros((loss.Z.shape[1], loss.targets.shape[1]), loss.dtype)
    for C in path:
        if len(found) > 1:
            start = 2 * found[-1] - found[-2]
        found.append(_solve(loss, C, start, loss.curvature(found[-1] if found else start), tolerance))
        start = found[-1]
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


def _head(parameters: Array, problem: Problem) -> AffineHead:
    stacked = parameters.astype(np.float64)
    return AffineHead(stacked[:-1].T, stacked[-1], problem.activation)


register(Logistic())
