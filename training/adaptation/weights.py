"""Density ratios p_target / p_source at the source's rows: three ways to estimate them without densities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.kernel import median_distance, squared_distances
from training.linear import logistic_path
from training.methods.base import Problem

Array = NDArray[np.float64]
_STEPS, _TOLERANCE = 1000, 1e-7
_BOUND = 1000.0  # of a kernel mean matching weight (Huang et al. 2007)
_CENTRES = 100  # of KLIEP's kernels (Sugiyama et al. 2008)
_WIDTHS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of 1 / median squared distance
_UPDATES, _ROUGHLY = 100, 1e-3  # of KLIEP's shares; they settle slowly where it no longer matters
_FOLDS = 3
_ODDS_C = 10.0
_MEDIAN_ROWS = 500
_TINY = 1e-12


def effective_sample_size(weights: Array) -> float:
    """(sum w)^2 / sum w^2: how many equal rows the weighted ones are worth (Kish 1965)."""
    return float(weights.sum() ** 2 / max(float((weights**2).sum()), _TINY))


def kernel_mean_matching(source: Array, target: Array, bound: float = _BOUND) -> Array:
    """Weights [s] of mean one that bring the source's mean in feature space to the target's.

    min_b b^T K b / 2 - k^T b with 0 <= b <= `bound` and |mean b - 1| <= (sqrt(s) - 1) / sqrt(s), for
    k_i = s / m sum_j k(x_i, x_j) (Huang et al. 2007, equation 5), by accelerated projected gradients.
    """
    between, width = _similarities(source, target)
    own = np.exp(-width * squared_distances(source, source))
    count = len(source)
    slack = (np.sqrt(count) - 1) / np.sqrt(count)
    goal = between.mean(axis=1) * count
    step = 1 / max(float(np.linalg.norm(own, 2)), _TINY)
    weights = ahead = np.ones(count)
    momentum = 1.0
    for _ in range(_STEPS):
        moved = _project(ahead - step * (own @ ahead - goal), bound, slack)
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / faster * (moved - weights)
        done = float(np.abs(moved - weights).max()) < _TOLERANCE
        weights, momentum = moved, faster
        if done:
            break
    return _of_mean_one(weights)


def kliep(source: Array, target: Array, seed: int = 0) -> Array:
    """Weights [s] of mean one of least Kullback-Leibler divergence from the target (Sugiyama et al. 2008).

    w(x) = sum_l a_l k(x, c_l), a >= 0, maximises the mean of log w over the target with a mean of one over
    the source; the width is that of greatest held-out likelihood.
    """
    rng = np.random.default_rng(seed)
    centres = target[rng.permutation(len(target))[:_CENTRES]]
    unit = _unit(target)
    near, far = squared_distances(target, centres) / unit, squared_distances(source, centres) / unit
    fold = rng.permutation(len(target)) % min(_FOLDS, len(target))
    width = max(_WIDTHS, key=lambda width: _held_out(np.exp(-width * near), np.exp(-width * far), fold))
    return _of_mean_one(np.exp(-width * far) @ _mixture(np.exp(-width * near), np.exp(-width * far)))


def classifier_odds(source: Array, target: Array) -> Array:
    """Weights [s] of mean one: a logistic domain classifier's odds of being of the target (Bickel 2007)."""
    X = np.concatenate([source, target])
    y = np.repeat([0, 1], [len(source), len(target)])
    balance = np.where(y == 0, 1 / len(source), 1 / len(target)) * len(y) / 2
    problem = Problem(X, y, "classification", ("source", "target"))
    logits = logistic_path(problem, [_ODDS_C], weights=balance)[0].logits(source)
    odds = logits[:, 1] - logits[:, 0]
    return _of_mean_one(np.exp(odds - odds.max()))


def _of_mean_one(weights: Array) -> Array:
    return weights / max(float(weights.mean()), _TINY)


def _similarities(source: Array, target: Array) -> tuple[Array, float]:
    """exp(-g |x_i - x_j|^2) [s, m], and g: one over the median squared distance within the target."""
    width = 1 / _unit(target)
    return np.exp(-width * squared_distances(source, target)), width


def _unit(rows: Array) -> float:
    """The median squared distance between rows, of so many that it hardly varies."""
    return median_distance(squared_distances(rows[:_MEDIAN_ROWS], rows[:_MEDIAN_ROWS]))


def _project(values: Array, bound: float, slack: float) -> Array:
    """The nearest point of the box [0, bound]^s whose mean is within `slack` of one (by bisection)."""
    clipped = np.clip(values, 0, bound)
    mean = float(clipped.mean())
    goal = min(max(mean, 1 - slack), 1 + slack)
    if goal == mean:
        return clipped
    low, high = float(values.min()) - bound - 1, float(values.max()) + 1
    for _ in range(60):
        middle = (low + high) / 2
        if float(np.clip(values - middle, 0, bound).mean()) > goal:
            low = middle
        else:
            high = middle
    return np.clip(values - low, 0, bound)


def _mixture(near: Array, far: Array) -> Array:
    """KLIEP's a [b] for kernels at the target [m, b] and at the source [s, b].

    Multiplicative updates a_l <- a_l / f_l * mean_j k_jl / w_j keep a >= 0 and the constraint, and never
    lower the likelihood: with f the kernels' means over the source, they are those of a mixture's shares.
    """
    mean = np.maximum(far.mean(axis=0), _TINY)
    scaled = near / mean
    share = np.full(len(mean), 1 / len(mean))
    for _ in range(_UPDATES):
        moved = share * (scaled / np.maximum(scaled @ share, _TINY)[:, None]).mean(axis=0)
        done = float(np.abs(moved - share).sum()) < _ROUGHLY
        share = moved
        if done:
            break
    return np.asarray(share / mean)


def _held_out(near: Array, far: Array, fold: NDArray[np.int64]) -> float:
    """Mean log-likelihood of the target's rows left out fold by fold."""
    total = 0.0
    for number in range(int(fold.max()) + 1):
        learnt = _mixture(near[fold != number], far) if (fold != number).any() else _mixture(near, far)
        total += float(np.log(np.maximum(near[fold == number] @ learnt, _TINY)).sum())
    return total / len(near)
