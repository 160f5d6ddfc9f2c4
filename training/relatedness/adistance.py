"""Proxy A-distance: how easily a linear classifier tells two domains apart (Ben-David et al., NIPS 2006).

d = 2 (1 - 2 e) with e the error of the domain classifier on examples it has not seen: 0 for domains that
cannot be told apart, 2 for those that always can. The bound on the target's error grows with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.spectrum import Spectrum

FOLDS = 5
_CHANCE = 0.5


@dataclass(frozen=True)
class Distance:
    """The proxy A-distance and its standard error."""

    value: float
    error: float


def proxy_a_distance(source: NDArray[Any], target: NDArray[Any], seed: int = 0) -> Distance | None:
    """Between features [n, D] and [m, D], by cross-validated ridge regression on the domain.

    Both domains count alike: the error is the mean of theirs, at most one half. None with fewer examples
    of a domain than folds.
    """
    if min(len(source), len(target)) < FOLDS:
        return None
    rng = np.random.default_rng(seed)
    X = np.concatenate([source, target]).astype(np.float64)
    domain = np.repeat([-1.0, 1.0], [len(source), len(target)])
    fold = np.concatenate([rng.permutation(len(part)) % FOLDS for part in (source, target)])
    wrong = np.zeros(len(X), bool)
    for held_out in (fold == number for number in range(FOLDS)):
        wrong[held_out] = _scores(X[~held_out], domain[~held_out], X[held_out]) * domain[held_out] <= 0
    errors = [float(wrong[domain == side].mean()) for side in (-1, 1)]
    mean = min(sum(errors) / 2, _CHANCE)
    variance = _variance(errors[0], len(source)) + _variance(errors[1], len(target))
    return Distance(2 * (1 - 2 * mean), 2 * float(np.sqrt(variance)))


def _scores(X: NDArray[Any], domain: NDArray[Any], queries: NDArray[Any]) -> NDArray[Any]:
    """The sides [m] that a ridge fit of -1 and 1 gives to queries [m, D], from the middle of the classes."""
    centre = X.mean(axis=0)
    scale = np.sqrt(((X - centre) ** 2).sum(axis=1).mean()) or 1.0
    Z, Q = (X - centre) / scale, (queries - centre) / scale
    spectrum = Spectrum.of_rows(Z, domain[:, None])
    weight = Z.T @ spectrum.dual(spectrum.best_penalty())[:, 0]
    own, answers = Z @ weight, Q @ weight
    return np.asarray(answers - (own[domain > 0].mean() + own[domain < 0].mean()) / 2)


def _variance(error: float, n: int) -> float:
    """Of an error rate on n examples, never quite 0: as if one more were right and one more wrong."""
    smooth = (error * n + 1) / (n + 2)
    return smooth * (1 - smooth) / n
