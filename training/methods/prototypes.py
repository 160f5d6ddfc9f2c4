"""Prototypes: each class is the mean of its examples (Snell, Swersky, Zemel 2017, ProtoNet).

p(c | z) = softmax(-t |z - m_c|^2), which is affine in z since |z|^2 is common to all classes:
weight 2 t m_c, bias -t |m_c|^2. The temperature t is fitted to leave-one-out distances, which need no
refit: without example i its class mean is (n m - z_i) / (n - 1), so its squared distance grows by
(n / (n - 1))^2. One example a class is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.calibrate import temperature
from training.heads import AffineHead
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register

_ONE_SHOT_SHARPNESS = 5.0  # where nothing can be left out; features have unit mean square norm


class PrototypesHyperparameters(Hyperparameters):
    sharpness: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="t in softmax(-t |z - m|^2), on features scaled to unit mean square norm",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved by leave-one-out inside the fit."""
        return [{"sharpness": self.sharpness}]


class Prototypes:
    info = MethodInfo(
        name="prototypes",
        title="Nearest class mean with a fitted temperature",
        tasks=("classification",),
        setting="inductive",
        source="Snell, Swersky, Zemel 2017, Prototypical Networks, equations 1, 2 and 8",
        hyperparameters=PrototypesHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        means = _class_means(problem)
        return [_fit(problem, means, setting["sharpness"]) for setting in grid]


def _fit(problem: Problem, means: NDArray[np.float64], sharpness: object) -> Fitted:
    t = _sharpness(problem, means) if sharpness == "auto" else float(sharpness)  # type: ignore[arg-type]
    head = AffineHead(2 * t * means, -t * (means**2).sum(axis=1), "softmax")
    return Fitted(head, {"sharpness": t})


def _class_means(problem: Problem) -> NDArray[np.float64]:
    """float64 [C, D]."""
    return np.asarray(problem.targets.T @ problem.X / problem.targets.sum(axis=0)[:, None])


def leave_one_out_distances(problem: Problem, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances [n, C], each row's own class mean made without that row (inf where alone)."""
    X = problem.X.astype(np.float64)
    distances: NDArray[np.float64] = np.maximum(
        (X**2).sum(axis=1, keepdims=True) - 2 * X @ means.T + (means**2).sum(axis=1), 0
    )
    rows, sizes = np.arange(len(X)), problem.targets.sum(axis=0)[problem.y]
    with np.errstate(divide="ignore", invalid="ignore"):
        distances[rows, problem.y] *= (sizes / (sizes - 1)) ** 2
    distances[rows[sizes == 1], problem.y[sizes == 1]] = np.inf
    return distances


def _sharpness(problem: Problem, means: NDArray[np.float64]) -> float:
    distances = leave_one_out_distances(problem, means)
    usable = np.isfinite(distances).all(axis=1)
    # The search is around 1: start from the one-shot value and look for a factor on it.
    logits = -_ONE_SHOT_SHARPNESS * distances[usable]
    return _ONE_SHOT_SHARPNESS * temperature("softmax", logits, problem.targets[usable])


register(Prototypes())
