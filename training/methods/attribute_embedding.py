"""Compatibility of features with class vectors: s(x, z) = phi(z)^T (W x + b), learnt on the seen classes.

`hinge` ranks the right class above the others by a margin (DeViSE, Frome et al. 2013, equation 1; ALE, Akata
et al. 2013), squared to be smooth: sum_i sum_c max(0, 1 + s(x_i, c) - s(x_i, y_i))^2 + |W|^2 / C. `ridge`
regresses the class vector itself and compares by cosine. `eszsl` has the closed form
W = (S^T S + g I)^-1 S^T Y^T X (X^T X + g I)^-1 (Romera-Paredes and Torr 2015). The class vectors are rows of
a table, or embedded class names.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.heads import AffineHead, Head
from training.lbfgs import minimise
from training.methods.base import MethodInfo, Problem, register_procedure
from training.zero_shot.classes import unit
from training.zero_shot.heads import SimilarityHead
from training.zero_shot.procedure import ZeroShot, ZeroShotHyperparameters

Array = NDArray[np.float64]
_TOLERANCE = 1e-4


class EmbeddingHyperparameters(ZeroShotHyperparameters):
    loss: Literal["hinge", "ridge", "eszsl"] = "hinge"
    penalty: float = Field(
        default=0.1, gt=0, le=1e6, description="on W, for features of unit mean square norm, an example"
    )


def fit(problem: Problem, seen: Array, answers: Array, given: EmbeddingHyperparameters) -> Head:
    """`seen` [S, A] and `answers` [K, A] are class vectors; gives a softmax head over the K answers."""
    centre = seen.mean(axis=0)
    seen, answers = unit(seen - centre), unit(answers - centre)
    penalty = given.penalty * len(problem)
    if given.loss == "ridge":
        weight, bias = _regress(problem, seen[problem.y], penalty)
        return SimilarityHead(weight, bias, answers, np.zeros(len(answers)))
    if given.loss == "eszsl":
        weight, bias = _closed_form(problem, seen, penalty), np.zeros(seen.shape[1])
    else:
        weight, bias = _rank(problem, seen, penalty)
    return AffineHead(answers @ weight, answers @ bias, "softmax")


def _regress(problem: Problem, vectors: Array, penalty: float) -> tuple[Array, Array]:
    """W [A, D] and b [A] of ridge regression on the rows' own class vectors [n, A]."""
    X = np.asarray(problem.X, np.float64)
    centre, mean = X.mean(axis=0), vectors.mean(axis=0)
    gram = (X - centre).T @ (X - centre) + penalty * np.eye(X.shape[1])
    weight = np.linalg.solve(gram, (X - centre).T @ (vectors - mean)).T
    return np.asarray(weight), np.asarray(mean - weight @ centre)


def _closed_form(problem: Problem, seen: Array, penalty: float) -> Array:
    """W [A, D] of the embarrassingly simple approach."""
    X = np.asarray(problem.X, np.float64)
    signs = 2 * problem.targets - 1
    inner = X.T @ signs @ seen
    left = np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), inner)
    scale = penalty / len(problem)
    return np.asarray(np.linalg.solve(seen.T @ seen + scale * np.eye(seen.shape[1]), left.T))


def _rank(problem: Problem, seen: Array, penalty: float) -> tuple[Array, Array]:
    """W [A, D] and b [A] of least squared hinge of the ranking."""
    X = np.concatenate([problem.X, np.ones((len(problem), 1))], axis=1).astype(np.float64)
    rows, right = np.arange(len(X)), problem.y
    unit_step = np.sqrt(len(X) + penalty)

    def objective(scaled: NDArray[np.floating[Any]]) -> tuple[float, NDArray[np.floating[Any]]]:
        W = scaled / unit_step
        scores = X @ W @ seen.T
        short = np.maximum(0, 1 + scores - scores[rows, right][:, None])
        short[rows, right] = 0
        pull = 2 * short
        pull[rows, right] = -pull.sum(axis=1)
        shrink = penalty * W
        shrink[-1] = 0
        value = float((short**2).sum() + 0.5 * (shrink * W).sum())
        return value, (X.T @ pull @ seen + shrink) / unit_step

    found = minimise(objective, np.zeros((X.shape[1], seen.shape[1])), _TOLERANCE * len(X)) / unit_step
    return np.asarray(found[:-1].T), np.asarray(found[-1])


register_procedure(
    ZeroShot(
        MethodInfo(
            name="attribute_embedding",
            title="Unseen classes by a learnt compatibility with class vectors",
            tasks=("classification",),
            setting="zero-shot",
            source="Frome et al. 2013, DeViSE; Akata et al. 2013, ALE; Romera-Paredes and Torr 2015, ESZSL",
            hyperparameters=EmbeddingHyperparameters,
            needs=("names",),
        ),
        fit,
    )
)
