"""A metric in which the domains meet, learnt from pairs across them (Saenko et al. 2010).

d_W(x_s, x_t) = (x_s - x_t)^T W (x_s - x_t), with W the metric nearest to Euclid's in which cross-domain
pairs of one class are near and pairs of two classes far (their section 3; information-theoretic metric
learning, Davis et al. 2007). With W = L L^T both domains are seen through L, and the head with them.
Pairs need labels in both domains: those of the target where it has some; else its surest predictions by
the nearest class mean of the centred source stand in for them, and the setting says `pairs` pseudo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.adaptation.domains import Array, Domains
from training.adaptation.fitting import AdaptationHyperparameters, fit_aligned
from training.adaptation.itml import learn_metric
from training.adaptation.moves import affine
from training.adaptation.pseudo import confident
from training.adaptation.statistics import power, principal_axes
from training.heads import activate
from training.kernel import squared_distances
from training.methods.base import Alignment, Auto, Fitted, MethodInfo, Problem, Setting, register

_DIMENSIONS, _MOST_PAIRS = 40, 2000
_MOST_ROWS = 1000  # of a domain, that pairs are drawn from
_NEAR, _FAR = 5, 95  # percentiles of the cross-domain distances: u and l (Davis et al. 2007, section 5)
_LEAST_BOUND = 1e-9  # where the domains hold the same rows
_BELIEVED = 0.5  # of the target's predictions


class MetricTransformHyperparameters(AdaptationHyperparameters):
    dimensions: Auto | int = Field(
        default="auto",
        ge=1,
        le=200,
        description=f"principal axes of both domains in which W is learnt; auto: {_DIMENSIONS}",
    )
    slack: Auto | float = Field(
        default="auto", gt=0, le=1e6, description="gamma: what missing a pair's bound costs; auto: 1"
    )

    def own(self, problem: Problem) -> Setting:
        dimensions = _DIMENSIONS if self.dimensions == "auto" else self.dimensions
        return {"dimensions": dimensions, "slack": 1.0 if self.slack == "auto" else self.slack}


class MetricTransform:
    info = MethodInfo(
        name="metric_transform",
        title="Metric learnt from pairs across domains",
        tasks=("classification",),
        setting="transductive",
        source="Saenko et al. 2010, Adapting Visual Category Models to New Domains, section 3",
        hyperparameters=MetricTransformHyperparameters,
        needs=("unlabelled",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        return fit_aligned(problem, grid, _align, rough=rough)


def _align(domains: Domains, setting: Setting) -> tuple[Alignment, Setting]:
    move = affine(domains.source.mean(axis=0), domains.target.mean(axis=0))
    moved = np.asarray(move(domains.source), np.float64)
    axes = principal_axes(np.concatenate([moved, domains.target]), int(setting["dimensions"]))  # type: ignore[arg-type]
    rows, labels, origin = _labelled(domains, moved)
    differences, similar = _pairs(moved @ axes, domains.y, rows @ axes, labels, domains.seed)
    lengths = (differences**2).sum(axis=1)
    near, far = np.maximum(np.percentile(lengths, [_NEAR, _FAR]), _LEAST_BOUND)
    metric = learn_metric(differences, similar, float(near), float(far), float(setting["slack"]))  # type: ignore[arg-type]
    found: Setting = {"dimensions": axes.shape[1], "pairs": origin}
    return Alignment(move, view=axes @ power(metric, 0.5)), found


def _labelled(domains: Domains, moved: Array) -> tuple[Array, NDArray[np.int64], str]:
    """Target rows and their classes: the labelled ones, or the surest predictions; and which of the two."""
    if len(domains.ty):
        return domains.labelled, domains.ty, "labelled"
    one_hot = np.eye(domains.classes)[domains.y]
    means = one_hot.T @ moved / one_hot.sum(axis=0)[:, None]
    distances = squared_distances(domains.target, means)
    believed, labels = confident(activate("softmax", -distances), _BELIEVED)
    return domains.target[believed], labels, "pseudo"


def _pairs(
    source: Array, y: NDArray[np.int64], target: Array, ty: NDArray[np.int64], seed: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Differences [p, r] of cross-domain pairs and which are of one class: half and half, a seeded draw."""
    rng = np.random.default_rng(seed)
    ours, theirs = (rng.permutation(len(labels))[:_MOST_ROWS] for labels in (y, ty))
    same = y[ours][:, None] == ty[theirs]
    kept = [rng.permutation(np.argwhere(part))[: _MOST_PAIRS // 2] for part in (same, ~same)]
    least = max(1, min(len(part) for part in kept))
    i, j = np.concatenate([part[:least] for part in kept]).T
    order = rng.permutation(len(i))
    return (source[ours[i]] - target[theirs[j]])[order], same[i, j][order]


register(MetricTransform())
