"""Linear discriminant analysis with a shrunk covariance: one Gaussian a class, all of one shape.

logit_c(z) = m_c^T S^-1 z - m_c^T S^-1 m_c / 2 + log p_c, with S = (1 - a) S_w + a tr(S_w) / D I, S_w the
covariance within classes and a the Ledoit-Wolf amount of shrinkage, which needs no search (Ledoit and
Wolf 2004; Friedman 1989). One example a class is enough: S is then a multiple of the identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.heads import AffineHead
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register

Array = NDArray[np.float64]
_ONE_SHOT_VARIANCE = 0.1  # of all coordinates together, where no class shows any; features have about 1
_TINY = 1e-12


class LdaHyperparameters(Hyperparameters):
    shrinkage: Auto | float = Field(
        default="auto", ge=0.001, le=1, description="a above; auto: Ledoit and Wolf's closed form"
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved in closed form inside the fit."""
        return [{"shrinkage": self.shrinkage}]


class Lda:
    info = MethodInfo(
        name="lda",
        title="Linear discriminant analysis, shrunk covariance",
        tasks=("classification",),
        setting="inductive",
        source="Fisher 1936; shrinkage: Ledoit and Wolf 2004, A well-conditioned estimator",
        hyperparameters=LdaHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        sizes = problem.targets.sum(axis=0)
        means = np.asarray(problem.targets.T @ problem.X / sizes[:, None], np.float64)
        within = problem.X.astype(np.float64) - means[problem.y]
        return [_fit(means, sizes, within, setting["shrinkage"]) for setting in grid]


def _fit(means: Array, sizes: Array, within: Array, shrinkage: object) -> Fitted:
    covariance = within.T @ within / len(within)
    amount = ledoit_wolf(within) if shrinkage == "auto" else float(shrinkage)  # type: ignore[arg-type]
    dim = len(covariance)
    average = float(np.trace(covariance)) / dim
    if average < _TINY:
        average, amount = _ONE_SHOT_VARIANCE / dim, 1.0
    shrunk = (1 - amount) * covariance + amount * average * np.eye(dim)
    weight: Array = np.linalg.solve(shrunk, means.T).T.astype(np.float64)
    bias = np.log(sizes / sizes.sum()) - 0.5 * (weight * means).sum(axis=1)
    return Fitted(AffineHead(weight, bias, "softmax"), {"shrinkage": amount})


def ledoit_wolf(centred: Array) -> float:
    """The amount of shrinkage, in [0, 1], of the covariance of centred rows [n, D] (their lemma 3.2-3.4)."""
    n, dim = centred.shape
    covariance = centred.T @ centred / n
    average = np.trace(covariance) / dim
    spread = float((covariance**2).sum()) - dim * average**2
    noise = float(((centred**2).sum(axis=1) ** 2).sum()) / n - float((covariance**2).sum())
    return 1.0 if spread <= _TINY else float(np.clip(noise / n / spread, 0, 1))


register(Lda())
