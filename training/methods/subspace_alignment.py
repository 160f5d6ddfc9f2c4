"""Subspace alignment: the source's principal axes are turned onto the target's (Fernando et al. 2013).

With P_s and P_t [D, d] the first principal axes of each domain, source rows are x_s P_s P_s^T P_t and
target rows x_t P_t (their equations 1 to 3; P_s^T P_t minimises |P_s M - P_t| in closed form). Since P_t
has orthonormal columns, a target row's distance to anything in span(P_t) differs from its distance after
projection by a constant: so source rows are moved to (x_s - m_s) P_s P_s^T P_t P_t^T + m_t, and the head
takes target features as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from training.adaptation.domains import Domains
from training.adaptation.fitting import AdaptationHyperparameters, fit_aligned
from training.adaptation.moves import affine
from training.adaptation.statistics import principal_axes
from training.methods.base import Alignment, Auto, Fitted, MethodInfo, Problem, Setting, register

_DIMENSIONS = 40  # from 30 to 80 Office-Caltech moves by two points


class SubspaceAlignmentHyperparameters(AdaptationHyperparameters):
    dimensions: Auto | int = Field(
        default="auto",
        ge=1,
        le=2000,
        description=f"d above, fewer where a domain has fewer; auto: {_DIMENSIONS}",
    )

    def own(self, problem: Problem) -> Setting:
        return {"dimensions": _DIMENSIONS if self.dimensions == "auto" else self.dimensions}


class SubspaceAlignment:
    info = MethodInfo(
        name="subspace_alignment",
        title="Subspace alignment",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Fernando et al. 2013, Unsupervised Visual Domain Adaptation Using Subspace Alignment",
        hyperparameters=SubspaceAlignmentHyperparameters,
        needs=("unlabelled",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        return fit_aligned(problem, grid, _align, rough=rough)


def _align(domains: Domains, setting: Setting) -> tuple[Alignment, Setting]:
    dimensions = int(setting["dimensions"])  # type: ignore[arg-type]
    ours, theirs = (principal_axes(rows, dimensions) for rows in (domains.source, domains.target))
    turn = (ours @ (ours.T @ theirs)) @ theirs.T
    move = affine(domains.source.mean(axis=0), domains.target.mean(axis=0), turn)
    return Alignment(move), {"dimensions": min(ours.shape[1], theirs.shape[1])}


register(SubspaceAlignment())
