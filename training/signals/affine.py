"""Affine heads on weighted rows of raw features, and what can be done to them without leaving affinity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.adaptation.weighted_ridge import WeightedRidge
from training.frame import Frame
from training.heads import AffineHead
from training.linear import logistic_path
from training.methods.base import Problem

Array = NDArray[np.float64]


def fit_affine(problem: Problem, weights: Array | None = None, C: float = 10.0) -> AffineHead:
    """The head on raw features `problem.X`, its rows weighted by `weights` [n] (None: alike).

    Regression: ridge, its penalty by weighted leave-one-out. Otherwise: logistic regression with the
    inverse penalty `C`, on features of unit mean square norm and weights of mean one.
    """
    weights = np.ones(len(problem)) if weights is None else weights / weights.mean()
    frame = Frame.of(problem.X)
    inside = replace(problem, X=frame.enter(problem.X))
    if problem.task == "regression":
        ridge = WeightedRidge.of(np.asarray(inside.X, np.float64), problem.targets, weights)
        return AffineHead(*ridge.solve(ridge.best_penalty()), problem.activation).lifted(frame)
    return logistic_path(inside, [C], weights=weights)[0].lifted(frame)


def mean_head(heads: Sequence[AffineHead]) -> AffineHead:
    """The head whose logits are the mean of the others': exact, for all are affine."""
    weight = np.mean([head.weight for head in heads], axis=0)
    return replace(heads[0], weight=weight, bias=np.mean([head.bias for head in heads], axis=0))


def without_directions(head: AffineHead, directions: Array) -> AffineHead:
    """The head blind to the orthonormal `directions` [r, D] of its features."""
    return replace(head, weight=head.weight - (head.weight @ directions.T) @ directions)


def shifted(head: AffineHead, amount: Array) -> AffineHead:
    """The head with `amount` [C] added to its logits."""
    return replace(head, bias=head.bias + amount)


def shrunk_mean(residuals: Array, error: float) -> Array:
    """The mean [C] of `residuals` [k, C], as far as it exceeds what errors of variance `error` would give.

    Positive-part James-Stein: one residual no larger than the model's own error moves nothing.
    """
    mean = residuals.mean(axis=0)
    power = float((mean**2).mean())
    return np.asarray(mean * max(0.0, 1 - error / (len(residuals) * power))) if power > 0 else mean
