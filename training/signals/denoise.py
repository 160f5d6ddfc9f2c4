"""A linear map under which a signal's features and those of its noisy self agree.

Both of a pair go through the same encoder and the same map W. VICReg (Bardes, Ponce, LeCun 2022) wants the
two to meet while no direction collapses and none repeats another; for a linear map on fixed features that is
a generalised eigenproblem of the scatter N of the differences and the scatter of the features (Balestriero,
LeCun 2022). Here it is solved with N as the unit: W N W' = I, N shrunk towards a multiple of the identity.
Nothing is cut off: noise moves every coordinate alike, so that what a head's penalty keeps small is the
noise that it lets in. A head over W z is a head over z, and stays affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.frame import Frame
from training.heads import AffineHead
from training.methods.base import METHODS, Floats, Problem, Setting

Array = NDArray[np.float64]
_HEADS: dict[str, tuple[str, Setting]] = {
    "classification": ("logistic", {"C": 10.0}),
    "multilabel": ("logistic", {"C": 10.0}),
    "regression": ("ridge", {"penalty": "auto"}),
}


@dataclass(frozen=True)
class Recipe:
    """`shrinkage` of N towards a multiple of the identity; whether the head learns from noisy copies too."""

    shrinkage: float
    from_copies: bool


def fit_plain(problem: Problem) -> AffineHead:
    """The reference head on raw features."""
    frame = Frame.of(problem.X)
    name, setting = _HEADS[problem.task]
    head = METHODS[name].fit(replace(problem, X=frame.enter(problem.X)), [setting])[0].head
    if not isinstance(head, AffineHead):
        raise TypeError("the reference head is affine")
    return head.lifted(frame)


def fit_denoised(problem: Problem, noisy: Floats, recipes: Sequence[Recipe]) -> list[AffineHead]:
    """A head on raw features for each recipe; `noisy` [k, n, D] are the problem's rows, k times disturbed."""
    every = np.concatenate([problem.X, *noisy])
    frame = Frame.of(every)
    inside = np.asarray(frame.enter(every), np.float64)
    clean, copies = inside[: len(problem)], inside[len(problem) :].reshape(len(noisy), len(problem), -1)
    powers, axes = _scatter((copies - clean).reshape(-1, inside.shape[1]))
    y = np.concatenate([problem.y] * (1 + len(noisy)))
    heads = []
    for recipe in recipes:
        weights = axes / np.sqrt((1 - recipe.shrinkage) * powers + recipe.shrinkage)
        seen = replace(problem, X=inside, y=y) if recipe.from_copies else replace(problem, X=clean)
        head = fit_plain(replace(seen, X=(seen.X @ weights).astype(np.float32)))
        heads.append(replace(head, weight=head.weight @ weights.T).lifted(frame))
    return heads


def _scatter(differences: Array) -> tuple[Array, Array]:
    """Powers [r], of mean one, and axes [r, r] of E[d d'], the mean of d being noise's own mark too.

    Where nothing differs all powers are one.
    """
    scatter = differences.T @ differences
    mean = float(np.trace(scatter)) / len(scatter)
    if mean <= 0:
        return np.ones(len(scatter)), np.eye(len(scatter))
    powers, axes = np.linalg.eigh(scatter / mean)
    return np.maximum(powers, 0), axes
