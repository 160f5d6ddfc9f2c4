"""Convex combination of semantic embeddings (ConSE, Norouzi et al. 2014).

A classifier of the seen classes is all that is learnt. Its T most probable classes mix their vectors,
f(x) = sum_t p(y_t | x) s(y_t) / Z, and the unseen class whose vector has the largest cosine with f(x) is the
answer. Z is left out: the cosine does not see it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.heads import Head
from training.linear import logistic_path
from training.methods.base import MethodInfo, Problem, register_procedure
from training.zero_shot.classes import unit
from training.zero_shot.heads import SimilarityHead
from training.zero_shot.procedure import ZeroShot, ZeroShotHyperparameters

Array = NDArray[np.float64]


class ConseHyperparameters(ZeroShotHyperparameters):
    top: int = Field(default=10, ge=1, le=5000, description="T: so many seen classes are mixed at most")
    C: float = Field(default=1.0, gt=0, le=1e6, description="inverse penalty of the seen classes' classifier")


def fit(problem: Problem, seen: Array, answers: Array, given: ConseHyperparameters) -> Head:
    """`seen` [S, A] and `answers` [K, A] are class vectors; gives a softmax head over the K answers."""
    centre = seen.mean(axis=0)
    (classifier,) = logistic_path(problem, [given.C])
    return SimilarityHead(
        classifier.weight,
        classifier.bias,
        unit(answers - centre),
        np.zeros(len(answers)),
        seen=unit(seen - centre),
        top=min(given.top, len(seen)),
    )


register_procedure(
    ZeroShot(
        MethodInfo(
            name="conse",
            title="Unseen classes by mixing the vectors of the seen ones",
            tasks=("classification",),
            setting="zero-shot",
            source="Norouzi et al. 2014, Zero-shot learning by convex combination of semantic embeddings",
            hyperparameters=ConseHyperparameters,
            needs=("names",),
        ),
        fit,
    )
)
