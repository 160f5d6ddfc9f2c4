"""Negative transfer: whether an adaptation did harm, as far as the labels can tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.report import Adaptation
from training.evaluate import Evidence
from training.portfolio import standard_error

_MOST_LOST = 0.02  # of the source's right answers, or of its variance: what an adaptation may cost
_ERRORS = 1.0
_NOISE = 0.1  # of a proxy A-distance
_FEW = 2


def harm(plain: Evidence, adapted: Evidence, domains: Adaptation | None) -> tuple[str, ...]:
    """Warnings about an adaptation, beside a head on the same labels without it, under the same folds.

    Judged by labelled rows of the target it may not be worse, but for one standard error of the paired
    difference. Judged by rows of the source it may not unlearn more than two points. The domains may not
    end farther apart than they were. Both of the latter can hold while the target's error grows: only its
    labels tell.
    """
    if domains is None:
        return ()
    return (*_lost(plain, adapted, domains), *_farther(domains))


def _lost(plain: Evidence, adapted: Evidence, domains: Adaptation) -> list[str]:
    if len(adapted.logits) < _FEW:
        return []
    gain = _worth(adapted) - _worth(plain)
    allowed = _MOST_LOST if domains.estimate_domain == "source" else 0.0
    if gain.mean() >= -allowed - _ERRORS * standard_error(gain):
        return []
    what = "points of variance explained" if adapted.problem.task == "regression" else "points"
    return [
        f"Negative transfer: on held-out labelled examples of the {domains.estimate_domain} this adaptation "
        f"is {-100 * gain.mean():.1f} {what} worse than none. Lower its weight, or take coral or logistic."
    ]


def _worth(evidence: Evidence) -> NDArray[np.float64]:
    """Each tested row's share of right answers, or less its squared error in variances of the values."""
    if evidence.problem.task != "regression":
        return evidence.hits
    return np.asarray(-evidence.losses / (float(evidence.problem.targets.var()) or 1.0))


def _farther(domains: Adaptation) -> list[str]:
    before, after = domains.a_distance_before, domains.a_distance_after
    if before is None or after is None or after <= before + _NOISE:
        return []
    return [
        f"The domains are farther apart after the adaptation than before: proxy A-distance {after:.2f} "
        f"against {before:.2f}. Raise weight or steps, or label some examples of the target."
    ]
