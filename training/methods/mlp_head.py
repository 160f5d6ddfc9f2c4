"""Several new layers on the fixed features: a perceptron of given widths, as for a wake word.

ReLU between layers, L2 on all matrices, trained to the end with L-BFGS (no learning rate, no epochs). With
few examples the linear head is hard to beat; with dozens of a class, where classes are not linearly
separable at the tap, layers help.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field

from training.column_fit import fit_column, random_layer
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register

_GRID = (10.0, 1.0, 100.0)
_WIDTH = 64
Width = Annotated[int, Field(ge=1, le=2048)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=4)]


class MlpHeadHyperparameters(Hyperparameters):
    widths: Auto | Widths = Field(
        default="auto", description="of the hidden layers, from below; auto: one of 64"
    )
    C: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="inverse strength of the penalty, on features scaled to unit mean square norm",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        strengths = _GRID if self.C == "auto" else (self.C,)
        widths = (_WIDTH,) if self.widths == "auto" else self.widths
        return [{"widths": "-".join(map(str, widths)), "C": C} for C in strengths]


class MlpHead:
    info = MethodInfo(
        name="mlp_head",
        title="Several new layers on frozen features",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Multilayer perceptron, Rumelhart, Hinton, Williams 1986; He et al. 2015 (where it begins)",
        hyperparameters=MlpHeadHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        dim, classes = problem.X.shape[1], problem.targets.shape[1]
        found = []
        for setting in grid:
            hidden = [int(width) for width in str(setting["widths"]).split("-")]
            rng = np.random.default_rng(problem.seed)
            start = [random_layer(below, width, rng) for below, width in pairwise([dim, *hidden, classes])]
            C = float(setting["C"] or 0)
            found.append(Fitted(fit_column(problem, start, (dim,), C), setting))
        return found


register(MlpHead())
