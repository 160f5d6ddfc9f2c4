"""CORAL: the source's second moments are made those of the target (Sun, Feng, Saenko 2016).

x_s -> (x_s - m_s) C_s^-1/2 C_t^1/2 + m_t, with C = covariance + r I in each domain (their algorithm 1,
whitening then re-colouring). It is the closed-form minimiser of |A^T C_s A - C_t|. With `moments` mean only
the means are brought together, the least that any adaptation does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from training.adaptation.domains import Domains
from training.adaptation.fitting import AdaptationHyperparameters, fit_aligned
from training.adaptation.moves import affine, recolouring
from training.methods.base import Alignment, Auto, Fitted, MethodInfo, Problem, Setting, register

_REGULARISATION = 1.0  # the paper's: it stayed within a point of the best from 0.001 to 1


class CoralHyperparameters(AdaptationHyperparameters):
    moments: Auto | Literal["covariance", "mean"] = Field(
        default="auto", description="what is aligned: mean and covariance, or the mean alone"
    )
    regularisation: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e3,
        description="r above, in units of the mean variance of a feature; auto: 1",
    )

    def own(self, problem: Problem) -> Setting:
        if self.moments == "mean":
            return {"moments": "mean"}
        amount = _REGULARISATION if self.regularisation == "auto" else self.regularisation
        return {"moments": "covariance", "regularisation": amount}


class Coral:
    info = MethodInfo(
        name="coral",
        title="Correlation alignment, closed form",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Sun, Feng, Saenko 2016, Return of Frustratingly Easy Domain Adaptation, algorithm 1",
        hyperparameters=CoralHyperparameters,
        needs=("unlabelled",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        return fit_aligned(problem, grid, _align, rough=rough)


def _align(domains: Domains, setting: Setting) -> tuple[Alignment, Setting]:
    source, target = domains.source, domains.target
    turn = None
    if setting["moments"] == "covariance":
        turn = recolouring(source, target, float(setting["regularisation"]))  # type: ignore[arg-type]
    return Alignment(affine(source.mean(axis=0), target.mean(axis=0), turn)), {}


register(Coral())
