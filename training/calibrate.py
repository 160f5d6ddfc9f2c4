"""Temperature scaling: one factor on the logits, so that probabilities mean what they say.

Guo et al. 2017, made safe for few examples: targets are smoothed by
eps = min(1/2, 0.2 C / (n + 2 C)), and a log-normal prior around 1 weighs as much as 8 examples, so that
a separable handful does not claim certainty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from training.heads import Activation

_RANGE = (np.log(1 / 16), np.log(64))
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

    It is an inverse temperature: multiply the logits by it.
    """
    if activation == "identity" or not len(logits):
        return 1.0
    total = _total(activation, logits, targets)
    found = minimize_scalar(
        lambda log: total(float(np.exp(log))) + 0.5 * prior * log * log,
        bounds=_RANGE,
        method="bounded",
        options={"xatol": _PRECISION},
    )
    return float(np.exp(found.x))


def smoothing(n: int, outcomes: int) -> float:
    """The share of a target that is spread over all outcomes, so that n examples never claim certainty."""
    return min(0.5, 0.2 * outcomes / (n + 2 * outcomes))


def _total(activation: Activation, logits: NDArray[Any], targets: NDArray[Any]) -> Any:
    """The summed smoothed loss as a function of the factor."""
    n, outcomes = len(logits), logits.shape[1] if activation == "softmax" else 2
    share = smoothing(n, outcomes)
    linear = float(((1 - share) * targets + share / outcomes).ravel() @ logits.ravel())
    if activation == "sigmoid":
        return lambda factor: float(np.logaddexp(0, factor * logits).sum()) - factor * linear
    top = logits.max(axis=1, keepdims=True)
    below = np.asarray(logits - top, np.float32)  # float32 exponentials: the sums stay in float64
    offset = float(top.sum())

    def total(factor: float) -> float:
        powers = np.exp(np.float32(factor) * below).sum(axis=1, dtype=np.float64)
        return float(np.log(powers).sum()) + factor * (offset - linear)

    return total


def _log_sum_exp(logits: NDArray[Any]) -> NDArray[np.float64]:
    top = logits.max(axis=1)
    return np.asarray(np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top)
