"""Sample-selection bias: source examples count by how likely the target is to have them.

min sum_i w_i loss_i with w = p_target / p_source (Shimodaira 2000), the ratio from one of: kernel mean
matching (Huang et al. 2007), KLIEP (Sugiyama et al. 2008), a domain classifier's odds (Bickel et al. 2007).
Few rows may end up with all the weight: the setting says how many equal rows they are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from models.errors import JobFailed
from training.adaptation.domains import Array, Domains
from training.adaptation.fitting import AdaptationHyperparameters, fit_aligned
from training.adaptation.weights import (
    classifier_odds,
    effective_sample_size,
    kernel_mean_matching,
    kliep,
)
from training.methods.base import Alignment, Auto, Fitted, Floats, MethodInfo, Problem, Setting, register

_MOST_MATCHED = 5000  # source rows in kernel mean matching, whose memory is their square


class ImportanceWeightingHyperparameters(AdaptationHyperparameters):
    weights: Auto | Literal["kmm", "kliep", "odds"] = Field(
        default="auto",
        description="kernel mean matching, KLIEP, or a domain classifier's odds; auto: KLIEP",
    )

    def own(self, problem: Problem) -> Setting:
        return {"weights": "kliep" if self.weights == "auto" else self.weights}


class ImportanceWeighting:
    info = MethodInfo(
        name="importance_weighting",
        title="Importance weights for sample-selection bias",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Shimodaira 2000; weights: Huang et al. 2007, Sugiyama et al. 2008, Bickel et al. 2007",
        hyperparameters=ImportanceWeightingHyperparameters,
        needs=("unlabelled",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        return fit_aligned(problem, grid, _align, rough=rough)


def _align(domains: Domains, setting: Setting) -> tuple[Alignment, Setting]:
    weights = _weigh(domains, str(setting["weights"]))
    return Alignment(_stay, weights), {"effective_sample_size": effective_sample_size(weights)}


def _stay(rows: Floats) -> Floats:
    return rows


def _weigh(domains: Domains, estimator: str) -> Array:
    """Weights [s] of the source's rows. Raises JobFailed for more rows than kernel mean matching holds."""
    source, target = domains.source, domains.target
    if estimator == "odds":
        return classifier_odds(source, target)
    if estimator == "kliep":
        return kliep(source, target, domains.seed)
    if len(source) > _MOST_MATCHED:
        message = f"Kernel mean matching holds at most {_MOST_MATCHED} examples: take kliep or odds."
        raise JobFailed(message, code="bad_hyperparameters")
    return kernel_mean_matching(source, target)


register(ImportanceWeighting())
