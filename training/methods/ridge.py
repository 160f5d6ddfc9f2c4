"""Ridge regression in closed form, its penalty chosen by exact leave-one-out.

W = argmin |Y - Z W - b|^2 + lambda |W|^2 with a free intercept. One eigendecomposition serves every
lambda, and leaving row i out needs no refit: its residual is e_i / (1 - h_ii), with h the diagonal of the
hat matrix (Allen 1974, PRESS; Rifkin and Lippert 2007). Classification and multilabel regress on one-hot
rows and scale the result into logits by a temperature fitted to the leave-one-out predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.calibrate import temperature
from training.heads import AffineHead
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register

Array = NDArray[np.float64]
_PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-4, 4))
_RANK = 1e-12
_SHARPNESS_PRIOR = 0.0  # regression scores have no natural scale: the examples alone decide


class RidgeHyperparameters(Hyperparameters):
    penalty: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e9,
        description="lambda, on features scaled to unit mean square norm; auto: least leave-one-out error",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved by leave-one-out inside the fit."""
        return [{"penalty": self.penalty}]


class Ridge:
    info = MethodInfo(
        name="ridge",
        title="Ridge regression, penalty by leave-one-out",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Hoerl and Kennard 1970; leave-one-out by the hat matrix, Allen 1974",
        hyperparameters=RidgeHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        spectrum = Spectrum.of(problem.X, problem.targets)
        return [_fit(problem, spectrum, setting["penalty"]) for setting in grid]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Centred data by its singular triplets: everything that any penalty needs."""

    centre: Array  # [D]
    mean: Array  # [K] of the targets
    left: Array  # [n, r]
    axes: Array  # [D, r]
    power: Array  # [r], squared singular values
    projected: Array  # [r, K], left.T @ centred targets
    targets: Array  # [n, K]

    @classmethod
    def of(cls, X: NDArray[Any], targets: Array) -> Spectrum:
        centre, mean = X.mean(axis=0, dtype=np.float64), targets.mean(axis=0)
        left, axes, power = _decompose(X - centre)
        return cls(centre, mean, left, axes, power, left.T @ (targets - mean), targets)

    def leave_one_out(self, penalty: float) -> Array:
        """What the fit without row i predicts for row i, for every i: [n, K]."""
        shrink = self.power / (self.power + penalty)
        fitted = self.mean + (self.left * shrink) @ self.projected
        leverage = 1 / len(self.left) + (self.left**2) @ shrink
        return self.targets - (self.targets - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]

    def solve(self, penalty: float) -> tuple[Array, Array]:
        """Weight [K, D] and intercept [K]."""
        weight = (self.axes @ (self.projected * (np.sqrt(self.power) / (self.power + penalty))[:, None])).T
        return weight, self.mean - weight @ self.centre

    def best_penalty(self) -> float:
        """The penalty of least squared leave-one-out error; the stronger of equals."""
        errors = [((self.leave_one_out(p) - self.targets) ** 2).sum() for p in _PENALTIES]
        return min(zip(errors, (-p for p in _PENALTIES), strict=True))[1] * -1


def _decompose(centred: Array) -> tuple[Array, Array, Array]:
    """Left vectors [n, r], axes [D, r] and squared singular values [r], by the smaller Gram matrix."""
    n, dim = centred.shape
    power, vectors = np.linalg.eigh(centred @ centred.T if n < dim else centred.T @ centred)
    keep = power > max(power[-1] * _RANK, np.finfo(np.float64).tiny)
    power, vectors = power[keep], vectors[:, keep]
    other = (centred.T if n < dim else centred) @ (vectors / np.sqrt(power))
    return (vectors, other, power) if n < dim else (other, vectors, power)


def _fit(problem: Problem, spectrum: Spectrum, penalty: Any) -> Fitted:
    chosen = spectrum.best_penalty() if penalty == "auto" else float(penalty)
    weight, bias = spectrum.solve(chosen)
    gain, shift = (2.0, -1.0) if problem.activation == "sigmoid" else (1.0, 0.0)  # one half: logit 0
    head = AffineHead(gain * weight, gain * bias + shift, problem.activation)
    held_out = gain * spectrum.leave_one_out(chosen) + shift
    factor = temperature(problem.activation, held_out, problem.targets, prior=_SHARPNESS_PRIOR)
    return Fitted(head.scaled(factor), {"penalty": chosen})


register(Ridge())
