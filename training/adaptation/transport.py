"""Optimal transport between two samples, and between two Gaussians.

The plan with entropy is min_G <G, M> + e sum G log G over couplings of the two uniform measures; it is
diag(u) exp(-M / e) diag(v), found by Sinkhorn's scaling (Cuturi 2013). The group penalty
eta sum_j sum_c |G_cj|^1/2_1 keeps each target row from taking mass of several source classes; it is
majorised by a linear cost a round (Courty et al. 2017, section 5.1 and algorithm 2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.adaptation.statistics import power

Array = NDArray[np.float64]
_ROUNDS, _SCALINGS = 10, 500
_CHECK, _TOLERANCE = 10, 1e-6
_SOFT = 1e-3  # of the group penalty, which has no derivative at zero
_TINY = 1e-300


def sinkhorn(cost: Array, entropy: float) -> Array:
    """The plan [s, m] for a cost [s, m] with uniform marginals; rows sum to 1/s exactly."""
    rows, columns = cost.shape
    kernel = np.exp(-(cost - cost.min()) / entropy)
    right = np.full(columns, 1 / columns)
    for step in range(_SCALINGS):
        left = 1 / (rows * np.maximum(kernel @ right, _TINY))
        mass = kernel.T @ left
        if step % _CHECK == 0 and float(np.abs(right * mass - 1 / columns).sum()) < _TOLERANCE:
            break
        right = 1 / (columns * np.maximum(mass, _TINY))
    return np.asarray(left[:, None] * kernel * right)


def class_sinkhorn(cost: Array, classes: NDArray[np.float64], entropy: float, eta: float) -> Array:
    """The plan with the group penalty of weight `eta`; `classes` [s, C] is one-hot."""
    plan = sinkhorn(cost, entropy)
    for _ in range(_ROUNDS if eta > 0 else 0):
        mass = classes.T @ plan
        plan = sinkhorn(cost + eta * (classes @ (0.5 / np.sqrt(mass + _SOFT))), entropy)
    return plan


def barycentres(plan: Array, target: Array) -> Array:
    """Where a plan [s, m] takes each source row: [s, D], the mean of the target rows [m, D] that it meets."""
    return np.asarray((plan / plan.sum(axis=1, keepdims=True)) @ target)


def gaussian_map(source: Array, target: Array) -> Array:
    """The optimal map [D, D] between centred Gaussians of these covariances, symmetric.

    A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2 (Dowson and Landau 1982; Flamary et al. 2019, LinOT).
    """
    root, inverse = power(source, 0.5), power(source, -0.5)
    return np.asarray(inverse @ power(root @ target @ root, 0.5) @ inverse)
