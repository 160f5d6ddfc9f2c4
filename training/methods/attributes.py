"""Direct attribute prediction (Lampert, Nickisch, Harmeling 2009): recognise attributes, not classes.

One logistic regression an attribute gives p(a_m | x), learnt from the seen classes' examples. A class z is
scored by prod_m p(a_m = a_m^z | x) / p(a_m^z), with p(a_m) its share among the seen classes. In logarithms
the terms that all classes share cancel, and an affine head is left:
logit_z = sum_m a_m^z (odds_m(x) - log p(a_m = 1) + log p(a_m = 0)) + const.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from training.heads import AffineHead, Head
from training.linear import logistic_path
from training.methods.base import MethodInfo, Problem, register_procedure
from training.zero_shot.procedure import ClassTable, ZeroShot, ZeroShotHyperparameters

Array = NDArray[np.float64]
_HALF = 0.5


class AttributesHyperparameters(ZeroShotHyperparameters):
    """Attributes count as present above one half of their range."""

    model_config = ConfigDict(json_schema_extra={"required": ["attributes"]})
    attributes: ClassTable
    classes: None = None
    C: float = Field(default=1.0, gt=0, le=1e6, description="inverse penalty of the attributes' classifiers")


def fit(problem: Problem, seen: Array, answers: Array, given: AttributesHyperparameters) -> Head:
    """`seen` [S, M] and `answers` [K, M] are attribute rows; gives a softmax head over the K answers."""
    low, high = (
        np.minimum(seen.min(axis=0), answers.min(axis=0)),
        np.maximum(seen.max(axis=0), answers.max(axis=0)),
    )
    threshold = low + _HALF * (high - low)
    marks, table = (seen > threshold).astype(float), (answers > threshold).astype(float)
    told = replace(
        problem, y=marks[problem.y], task="multilabel", labels=tuple(map(str, range(marks.shape[1])))
    )
    (attributes,) = logistic_path(told, [given.C])
    share = (marks.sum(axis=0) + 1) / (
        len(marks) + 2
    )  # Laplace's rule: an attribute of none is not impossible
    prior = table @ (np.log(1 - share) - np.log(share))
    return AffineHead(table @ attributes.weight, table @ attributes.bias + prior, "softmax")


register_procedure(
    ZeroShot(
        MethodInfo(
            name="attributes",
            title="Unseen classes by their attributes (direct attribute prediction)",
            tasks=("classification",),
            setting="zero-shot",
            source="Lampert, Nickisch, Harmeling 2009, Learning to detect unseen object classes, equation 2",
            hyperparameters=AttributesHyperparameters,
        ),
        fit,
    )
)
