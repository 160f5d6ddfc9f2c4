"""Optimal transport: the source is carried to the target at least cost (Courty et al. 2017).

`map` entropic: each source example goes to the mean of the target examples that the regularised plan
couples it with, classes kept apart by a group penalty (their equations 14 and 16); a row seen later moves
as its nearest source example did (their section 4.3, Ferradans et al. 2014). `map` linear: the map between
the two Gaussians, A (x - m_s) + m_t (Flamary et al. 2019), which needs no plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.adaptation.domains import Array, Domains
from training.adaptation.fitting import AdaptationHyperparameters, fit_aligned
from training.adaptation.moves import Move, affine
from training.adaptation.statistics import covariance
from training.adaptation.transport import barycentres, class_sinkhorn, gaussian_map
from training.kernel import squared_distances
from training.methods.base import Alignment, Auto, Fitted, Floats, MethodInfo, Problem, Setting, register

_ENTROPY, _CLASS_PENALTY, _REGULARISATION = 0.1, 0.1, 1.0
_MOST_ROWS = 2000  # of a domain in a plan: more cost seconds and move the barycentres little


class OptimalTransportHyperparameters(AdaptationHyperparameters):
    map: Auto | Literal["entropic", "linear"] = Field(
        default="auto", description="auto: entropic for classification, linear for the other tasks"
    )
    entropy: Auto | float = Field(
        default="auto",
        ge=0.01,
        le=100,
        description=f"of the plan, in units of the median cost; auto: {_ENTROPY}",
    )
    class_penalty: Auto | float = Field(
        default="auto",
        ge=0,
        le=100,
        description=f"of mixing classes, in units of the median cost; auto: {_CLASS_PENALTY}",
    )
    regularisation: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e3,
        description="of the linear map's covariances, in units of the mean variance of a feature; auto: 1",
    )

    def own(self, problem: Problem) -> Setting:
        given = self.map if self.map != "auto" else None
        if (given or ("entropic" if problem.task == "classification" else "linear")) == "linear":
            return {"map": "linear", "regularisation": _or(self.regularisation, _REGULARISATION)}
        penalty = _or(self.class_penalty, _CLASS_PENALTY) if problem.task == "classification" else 0.0
        return {"map": "entropic", "entropy": _or(self.entropy, _ENTROPY), "class_penalty": penalty}


def _or(given: Auto | float, default: float) -> float:
    return default if given == "auto" else float(given)


class OptimalTransport:
    info = MethodInfo(
        name="optimal_transport",
        title="Optimal transport of the source onto the target",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Courty et al. 2017, Optimal Transport for Domain Adaptation; linear map: Flamary et al. 2019",
        hyperparameters=OptimalTransportHyperparameters,
        needs=("unlabelled",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        return fit_aligned(problem, grid, _align, rough=rough)


def _align(domains: Domains, setting: Setting) -> tuple[Alignment, Setting]:
    mover = _linear(domains, setting) if setting["map"] == "linear" else _entropic(domains, setting)
    return Alignment(mover), {}


def _linear(domains: Domains, setting: Setting) -> Move:
    amount = float(setting["regularisation"])  # type: ignore[arg-type]
    carry = gaussian_map(covariance(domains.source, amount), covariance(domains.target, amount))
    return affine(domains.source.mean(axis=0), domains.target.mean(axis=0), carry)


def _entropic(domains: Domains, setting: Setting) -> Move:
    """Costs are between rows less their domain's mean: transport is left what a shift cannot do."""
    centre, goal = domains.source.mean(axis=0), domains.target.mean(axis=0)
    ours, theirs = (_drawn(len(rows), domains.seed) for rows in (domains.source, domains.target))
    start, ends = domains.source[ours] - centre, domains.target[theirs] - goal
    cost = squared_distances(start, ends)
    cost /= float(np.median(cost)) or 1.0
    entropy, penalty = float(setting["entropy"]), float(setting["class_penalty"])  # type: ignore[arg-type]
    classes = np.eye(domains.classes)[domains.y[ours]] if penalty else np.ones((len(start), 1))
    step: Array = barycentres(class_sinkhorn(cost, classes, entropy, penalty), ends) - start

    def move(rows: Floats) -> Floats:
        away: Array = np.asarray(rows, np.float64) - centre
        nearest = squared_distances(away, start).argmin(axis=1)
        return np.asarray(away + step[nearest] + goal)

    return move


def _drawn(count: int, seed: int) -> NDArray[np.int64]:
    """Row numbers, ascending: all, or a seeded draw of as many as a plan may hold of a domain."""
    drawn = np.random.default_rng(seed).permutation(count)[:_MOST_ROWS]
    return np.sort(drawn)


register(OptimalTransport())
