"""Temperature scaling: one factor on the logits, so that probabilities mean what they say.

Guo et al. 2017, made safe for few examples: targets are smoothed by
eps = min(1/2, 0.2 C / (n + 2 C)), and a log-normal prior around 1 weighs as much as 8 examples, so that
a separable handful does not claim certainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.heads import Activation, activate

_RANGE = (math.log(1 / 16), math.log(64))
_STEPS = 50
_PRECISION = 0.01  # of the logarithm: far below what the examples can tell
_PRIOR = 8.0


def losses(activation: Activation, logits: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Each row's own loss [n]: log-loss, summed binary log-losses, or mean squared error."""
    if activation == "identity":
        return np.asarray(((logits - targets) ** 2).mean(axis=1))
    linear = (targets * logits).sum(axis=1)
    if activation == "sigmoid":
        return np.asarray(np.logaddexp(0, logits).sum(axis=1) - linear)
    return np.asarray(_log_sum_exp(logits) - linear)


def temperature(
    activation: Activation, logits: NDArray[Any], targets: NDArray[Any], *, prior: float = _PRIOR
) -> float:
    """The factor for held-out `logits` [n, C] given 0/1 `targets` [n, C]; 1 for regression or no rows.

    It is an inverse temperature: multiply the logits by it. Found by Newton's method on its logarithm, within
    a bracket that each slope narrows.
    """
    if activation == "identity" or not len(logits):
        return 1.0
    slopes = _slopes(activation, logits, targets)
    low, high = _RANGE
    log = 0.0
    for _ in range(_STEPS):
        factor = math.exp(log)
        first, second = slopes(factor)
        slope = factor * first + prior * log
        if slope > 0:
            high = log
        else:
            low = log
        step = -slope / (factor * factor * second + max(0.0, factor * first) + prior)
        after = log + step if low < log + step < high else (low + high) / 2
        if abs(after - log) < _PRECISION:
            return math.exp(after)
        log = after
    return math.exp(log)


def smoothing(n: int, outcomes: int) -> float:
    """The share of a target that is spread over all outcomes, so that n examples never claim certainty."""
    return min(0.5, 0.2 * outcomes / (n + 2 * outcomes))


def _slopes(
    activation: Activation, logits: NDArray[Any], targets: NDArray[Any]
) -> Callable[[float], tuple[float, float]]:
    """The first two derivatives of the summed smoothed loss by the factor, as a function of that."""
    n, outcomes = len(logits), logits.shape[1] if activation == "softmax" else 2
    share = smoothing(n, outcomes)
    linear = float(((1 - share) * targets + share / outcomes).ravel() @ logits.ravel())
    if activation == "sigmoid":
        squares = logits**2

        def of_each(factor: float) -> tuple[float, float]:
            p = activate("sigmoid", factor * logits)
            return float((p * logits).sum()) - linear, float((p * (1 - p) * squares).sum())

        return of_each

    top = logits.max(axis=1, keepdims=True)
    below = np.asarray(logits - top, np.float32)  # float32 exponentials: the sums stay in float64
    offset = float(top.sum()) - linear

    def of_all(factor: float) -> tuple[float, float]:
        powers = np.exp(np.float32(factor) * below)
        total = np.einsum("nc->n", powers, dtype=np.float64)
        mean = np.einsum("nc,nc->n", powers, below, dtype=np.float64) / total
        square = np.einsum("nc,nc,nc->n", powers, below, below, dtype=np.float64) / total
        return float(mean.sum()) + offset, float((square - mean * mean).sum())

    return of_all


def _log_sum_exp(logits: NDArray[Any]) -> NDArray[np.float64]:
    top = logits.max(axis=1)
    return np.asarray(np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top)
