"""L2-penalised logistic regression on frozen features: the method to beat.

Classification: min_W,b  sum_i -log softmax(W z_i + b)[y_i] + |W|^2 / (2 C), the intercept free
(Hastie, Tibshirani, Friedman 2009, section 4.4). Multilabel: the same with one logistic loss a label.
C is chosen on the path 10, 0.1, 1, 100, where C = 10 stays unless another is clearly better: on features
of unit mean square norm it is within noise of the best from 2 to 50 examples a class, and picking the
lowest cross-validated loss among many loses to it (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from training.folds import Folds
from training.heads import Scores
from training.linear import logistic_path
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register
from training.together import few, held_out_path

_GRID = (10.0, 0.1, 1.0, 100.0)


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
    """One L-BFGS path over C, from strong to weak penalty, each solution the next one's start.

    The folds of a cross-validation take it together where there are few examples.
    """

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
        heads = dict(zip(path, logistic_path(problem, path, rough=rough), strict=True))
        return [Fitted(heads[float(setting["C"])], setting) for setting in grid]  # type: ignore[arg-type]

    def hold_out_together(
        self, problem: Problem, grid: Sequence[Setting], divisions: Sequence[Folds]
    ) -> list[Scores] | None:
        """float64 [len(grid), n, C] for each division, all folds at once; None where there are many rows."""
        if not few(problem) or not divisions[0].count:
            return None
        path = sorted({float(setting["C"]) for setting in grid})  # type: ignore[arg-type]
        places = [path.index(float(setting["C"])) for setting in grid]  # type: ignore[arg-type]
        found = held_out_path(problem, path, divisions)
        return [np.stack([once[place] for place in places]) for once in found]


register(Logistic())
