"""An anchored log-linear pool: the weighted mean of several heads' logits, drawn to one trusted head.

Weights w on the simplex minimise  sum_i L_i(sum_m w_m l_m) + kappa KL(w | w0)  over out-of-fold logits
l_m, each already at its own temperature; w0 gives most to the anchor. Targets are smoothed as for a
temperature (Guo et al. 2017; `training.calibrate`). With few examples the pull keeps the anchor, with
many the evidence decides (logarithmic opinion pools: Genest and Zidek 1986; Heskes 1998; stacking:
Wolpert 1992). Regression pools values, its loss in units of the targets' variance.

Logits are [M, R, m, C]: of M members, in R repetitions of the cross-validation, of m rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibrate import smoothing
from training.heads import Activation, activate

Array = NDArray[np.float64]
_PULL = 4.0  # kappa: what the prior weighs, in examples
_SMALLEST = 0.02  # a weight below counts as none: not worth its part of the graph
_ANCHOR = 0.6
_STEPS = 50
_PRECISION = 1e-8  # of the objective, in examples' losses
_INSIDE, _ENOUGH, _SHORTEST = 0.95, 1e-4, 1e-6


def prior_weights(members: int) -> Array:
    """w0 [M]: most for the first member, the rest shared alike."""
    if members == 1:
        return np.ones(1)
    return np.array([_ANCHOR] + [(1 - _ANCHOR) / (members - 1)] * (members - 1))


def pool_weights(activation: Activation, logits: Array, targets: Array, prior: Array) -> Array:
    """Weights [M], which sum to one, for out-of-fold `logits` [M, R, m, C] given `targets` [m, C]."""
    if len(logits) == 1 or not len(targets):
        return prior
    repetitions, stacked = logits.shape[1], logits.reshape(len(logits), -1)
    aim = np.tile(_aim(activation, targets), (repetitions, 1))
    unit = repetitions * (_variance(targets) if activation == "identity" else 1.0)

    def objective(w: Array) -> tuple[float, Array, Array]:
        value, slope, curvature = _loss(activation, (w @ stacked).reshape(aim.shape), aim)
        surprise = np.log(w / prior)
        gradient = stacked @ slope.ravel() / unit + _PULL * (surprise + 1)
        hessian = curvature(stacked) / unit + np.diag(_PULL / w)
        return value / unit + _PULL * float(w @ surprise), gradient, hessian

    w = _on_simplex(objective, prior)
    w[w < _SMALLEST] = 0
    return np.asarray(w / w.sum())


def _on_simplex(objective: Callable[[Array], tuple[float, Array, Array]], w: Array) -> Array:
    """Newton's method from inside the simplex, on which the pull towards the prior keeps it."""
    value, gradient, hessian = objective(w)
    for _ in range(_STEPS):
        pulled = np.linalg.solve(hessian, np.stack([gradient, np.ones(len(w))], axis=1))
        step = pulled[:, 1] * (pulled[:, 0].sum() / pulled[:, 1].sum()) - pulled[:, 0]
        gain = -float(gradient @ step)
        if gain < _PRECISION:
            break
        shrinks = step < 0
        share = min(1.0, _INSIDE * float((-w[shrinks] / step[shrinks]).min())) if shrinks.any() else 1.0
        tried = objective(w + share * step)
        while tried[0] > value - _ENOUGH * share * gain and share > _SHORTEST:
            share /= 2
            tried = objective(w + share * step)
        w, (value, gradient, hessian) = w + share * step, tried
    return w


def cross_fitted(
    activation: Activation, logits: Array, targets: Array, prior: Array, fold: NDArray[np.int64]
) -> Array:
    """Pooled logits [m, C], a row's weights from rows of other folds; `logits` of one repetition."""
    pooled = np.empty(logits.shape[2:])
    for number in np.unique(fold):
        held = fold == number
        w = pool_weights(activation, logits[:, :, ~held], targets[~held], prior)
        pooled[held] = np.tensordot(w, logits[:, 0, held], 1)
    return pooled


def _aim(activation: Activation, targets: Array) -> Array:
    if activation == "identity":
        return targets
    outcomes = targets.shape[1] if activation == "softmax" else 2
    share = smoothing(len(targets), outcomes)
    return np.asarray((1 - share) * targets + share / outcomes)


def _variance(targets: Array) -> float:
    return float(targets.var(axis=0).sum()) or 1.0


def _loss(activation: Activation, logits: Array, aim: Array) -> tuple[float, Array, Callable[[Array], Array]]:
    """The summed loss, its derivative by the logits [m, C], and its curvature [M, M] along some [M, m C]."""
    if activation == "identity":
        error = logits - aim
        return 0.5 * float((error**2).sum()), error, lambda along: along @ along.T
    linear = float((aim * logits).sum())
    if activation == "sigmoid":
        p = activate("sigmoid", logits)
        spread = (p * (1 - p)).ravel()
        value = float(np.logaddexp(0, logits).sum()) - linear
        return value, p - aim, lambda along: (along * spread) @ along.T
    top = logits.max(axis=1, keepdims=True)
    powers: NDArray[Any] = np.exp(logits - top)
    total = powers.sum(axis=1, keepdims=True)
    p = powers / total

    def curvature(along: Array) -> Array:
        weighted = along * p.ravel()
        means = weighted.reshape(len(along), *p.shape).sum(axis=2)
        return np.asarray(weighted @ along.T - means @ means.T)

    return float((np.log(total) + top).sum()) - linear, p - aim, curvature
