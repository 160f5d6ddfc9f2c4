"""Information-theoretic metric learning (Davis et al. 2007): the Mahalanobis metric nearest to Euclid's.

min_W tr(W) - log det W  with d_W(i, j) <= u for similar and >= l for dissimilar pairs, slack weighed by
gamma: cyclic Bregman projections, each a rank-one update (their algorithm 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_SWEEPS, _TOLERANCE = 20, 1e-3
_TINY = 1e-12


def learn_metric(
    differences: Array, similar: NDArray[np.bool_], near: float, far: float, slack: float = 1.0
) -> Array:
    """The metric W [r, r], positive definite, for pairs by their `differences` x_i - x_j [p, r].

    Squared distances of `similar` pairs are to be at most `near` (u), the others' at least `far` (l);
    `slack` (gamma) is how much it costs to miss that.
    """
    metric = np.eye(differences.shape[1])
    signs = np.where(similar, 1.0, -1.0)
    bounds = np.where(similar, near, far)
    duals = np.zeros(len(differences))
    for _ in range(_SWEEPS):
        before = duals.copy()
        for pair, difference in enumerate(differences):
            bounds[pair], duals[pair] = _project(
                metric, difference, signs[pair], bounds[pair], duals[pair], slack
            )
        if np.abs(duals - before).sum() <= _TOLERANCE * max(np.abs(before).sum(), _TINY):
            break
    return metric


def _project(
    metric: Array, difference: Array, sign: float, bound: float, dual: float, slack: float
) -> tuple[float, float]:
    """Project `metric`, in place, onto one pair's constraint; its new bound and dual variable."""
    image = metric @ difference
    distance = float(difference @ image)
    if distance < _TINY:
        return bound, dual
    alpha = min(dual, sign * slack / (slack + 1) * (1 / distance - 1 / bound))
    beta = sign * alpha / (1 - sign * alpha * distance)
    metric += beta * np.outer(image, image)
    return 1 / (1 / bound + sign * alpha / slack), dual - alpha
