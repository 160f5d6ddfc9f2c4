"""Distances between two sets of features whose gradients bring them together. Pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the kernels, in mean squared distances; their mean is the kernel (Long et al. 2015, equal weights)."""


def coral_distance(source: Tensor, target: Tensor) -> Tensor:
    """|C_s - C_t|_F^2 / (4 d^2) of rows [s, d] and [t, d], C their covariances (Sun, Saenko 2016, eq. 1)."""
    difference = _covariance(source) - _covariance(target)
    return (difference**2).sum() / (4 * source.shape[1] ** 2)


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / max(len(rows) - 1, 1)


def kernel(rows: Tensor) -> Tensor:
    """[n, n]: the mean of Gaussian kernels exp(-|x - y|^2 / (w m)), with m the rows' mean |x - y|^2.

    No gradient flows through m: a kernel may not be widened to make the rows look alike.
    """
    norms = rows.pow(2).sum(dim=1)
    squared = (norms[:, None] + norms[None, :] - 2 * rows @ rows.T).clamp(min=0)
    mean = squared.detach().mean().clamp(min=1e-12)
    return torch.stack([torch.exp(-squared / (width * mean)) for width in _WIDTHS]).mean(dim=0)


def mean_discrepancy(kernels: Tensor, source: int) -> Tensor:
    """Squared maximum mean discrepancy between the first `source` rows of a kernel [n, n] and the others.

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t), never below zero (Gretton et al. 2012, eq. 5).
    """
    ours, theirs = kernels[:source, :source], kernels[source:, source:]
    return ours.mean() + theirs.mean() - 2 * kernels[:source, source:].mean()


def kernel_distance(source: Tensor, target: Tensor) -> Tensor:
    """Squared multi-kernel maximum mean discrepancy of rows [s, d] and [t, d] (Long et al. 2015)."""
    return mean_discrepancy(kernel(torch.cat([source, target])), len(source))


def joint_kernel_distance(
    source: Tensor, target: Tensor, source_answers: Tensor, target_answers: Tensor
) -> Tensor:
    """The same of features and class probabilities together: their kernels' product (Long et al. 2017)."""
    features = kernel(torch.cat([source, target]))
    answers = kernel(torch.cat([source_answers, target_answers]))
    return mean_discrepancy(features * answers, len(source))
