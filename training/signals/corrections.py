"""What a few real examples correct in a head that was fitted on simulations."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.adaptation.domains import pooled_weights
from training.heads import AffineHead
from training.methods.base import Problem
from training.signals.affine import fit_affine, shifted, shrunk_mean, without_directions

Array = NDArray[np.float64]
Correction = Literal["simulated", "calibrated", "output_bias", "pooled", "orthogonal"]
_DIRECTIONS = 2


def fit_corrected(correction: Correction, plain: Problem, calibrated: Problem, real: Problem) -> AffineHead:
    """The head on raw features: `plain` are the simulations as they are, `calibrated` the same rows as the
    instrument shows them, `real` the real examples that may be learnt from."""
    if correction == "simulated":
        return fit_affine(plain)
    if correction == "pooled":
        return _pooled(calibrated, real)
    if correction == "orthogonal":
        return _orthogonal(calibrated, real)
    head = fit_affine(calibrated)
    return head if correction == "calibrated" else _unbiased(head, calibrated, real)


def _unbiased(head: AffineHead, calibrated: Problem, real: Problem) -> AffineHead:
    """The head with the mean error on real rows taken off, as far as its own errors do not explain it."""
    error = float(((head.logits(calibrated.X) - calibrated.targets) ** 2).mean())
    return shifted(head, shrunk_mean(real.targets - head.logits(real.X), error))


def _orthogonal(calibrated: Problem, real: Problem) -> AffineHead:
    blind = _differences(calibrated, real)
    clean = replace(calibrated, X=calibrated.X - (calibrated.X @ blind.T) @ blind)
    return without_directions(fit_affine(clean), blind)


def _pooled(simulated: Problem, real: Problem) -> AffineHead:
    """One fit on both, the real rows weighing half as much as the simulations together."""
    of_target = np.repeat([False, True], [len(simulated), len(real)])
    both = replace(
        simulated,
        X=np.concatenate([simulated.X, real.X]),
        y=np.concatenate([simulated.y, real.y]),
        in_target=of_target,
    )
    return fit_affine(both, pooled_weights(of_target))


def _differences(simulated: Problem, real: Problem) -> Array:
    """Orthonormal directions [r, D] of real features less those of the simulations nearest in label."""
    apart = []
    for features, target in zip(np.asarray(real.X, np.float64), real.targets, strict=True):
        distance = ((simulated.targets - target) ** 2).sum(axis=1)
        near = np.argsort(distance, kind="stable")[: max(5, len(simulated) // 20)]
        apart.append(features - simulated.X[near].mean(axis=0))
    _, size, axes = np.linalg.svd(np.stack(apart), full_matrices=False)
    return np.asarray(axes[: min(_DIRECTIONS, int((size > 1e-9 * max(size[0], 1e-30)).sum()))])
