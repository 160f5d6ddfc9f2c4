"""Where "the same" ends: a threshold on similarities of trials of which it is known whether they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]
_RANGE = (np.log(1e-3), np.log(1e3))
_PRIOR = 8.0  # trials that the usual slope is worth


@dataclass(frozen=True)
class Threshold:
    """Similarities of `value` and above are the same.

    `false_accepts` is the share of different trials at or above it, `false_rejects` of same ones below.
    `equal_error` is the error where the two are alike, at a threshold of its own.
    """

    value: float
    false_accepts: float
    false_rejects: float
    equal_error: float


def fit_threshold(same: Array, different: Array, false_accepts: float | None = None) -> Threshold:
    """Of the similarities of same and different trials; neither may be empty.

    None: where both errors are most alike. Else the lowest place at which no more than that share of the
    different trials is accepted. Different trials are of known classes, and a stranger is of none: in a gap
    between the two kinds the threshold lies at its upper end, the least similar of the same trials.
    """
    places, accepts, rejects = _errors(same, different)
    equal = int(np.lexsort((accepts + rejects, np.abs(accepts - rejects)))[0])
    chosen = equal if false_accepts is None else int(np.flatnonzero(accepts <= false_accepts)[0])
    return Threshold(
        value=float(places[chosen]),
        false_accepts=float(accepts[chosen]),
        false_rejects=float(rejects[chosen]),
        equal_error=float(accepts[equal] + rejects[equal]) / 2,
    )


def _errors(same: Array, different: Array) -> tuple[Array, Array, Array]:
    """Candidate thresholds, ascending: where a same trial lies, and one above all; their errors."""
    beyond = max(float(same.max()), float(different.max()))
    places = np.append(np.unique(same), beyond + max(1e-6, 1e-6 * abs(beyond)))
    rejects = np.searchsorted(np.sort(same), places) / len(same)
    accepts = 1 - np.searchsorted(np.sort(different), places) / len(different)
    return places, accepts, rejects


def fit_slope(same: Array, different: Array, threshold: float) -> float:
    """s in p(same) = sigmoid(s (similarity - threshold)), where both kinds of trial are as likely.

    Logistic regression with its zero fixed at the threshold; a log-normal prior around one over the standard
    deviation of the similarities keeps a few separable trials from claiming certainty.
    """
    near, far = same - threshold, threshold - different
    usual = 1 / max(float(np.concatenate([same, different]).std()), 1e-9)
    prior = _PRIOR / (4 * min(len(same), len(different)))

    def loss(log: float) -> Any:
        slope = usual * np.exp(log)
        wrong = np.logaddexp(0, -slope * near).mean() + np.logaddexp(0, -slope * far).mean()
        return wrong / 2 + prior * log**2

    return usual * float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
