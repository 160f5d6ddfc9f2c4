"""Domains that a discriminator cannot tell apart: its loss, turned against the features that it sees.

Pure functions and modules of tensors: gradient reversal and its ramp (Ganin et al. 2016), the conditional
form (Long et al. 2018), and confusion by a uniform guess (Tzeng et al. 2015). The two players settle only
where the discriminator is kept smooth and learns faster than the features (Mescheder et al. 2018; Heusel et
al. 2017); without that the domains were seen to trade places, and the target to end worse than it began.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEEPNESS = 10.0  # Ganin et al. 2016, section 5.2.2
_MOST_MAPPED = 4096  # dimensions of a multilinear map (Long et al. 2018, section 3.2)


def ramp(share: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: from 0 at the beginning of the training to nearly 1 at its end."""
    return 2 / (1 + math.exp(-_STEEPNESS * share)) - 1


def reverse(values: Tensor, strength: float) -> Tensor:
    """The values as they are; their gradient times `-strength`."""
    found: Tensor = _Reversal.apply(values, strength)
    return found


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


class Discriminator(nn.Module):
    """Two hidden layers: features [n, H] -> logits [n] of being of the source."""

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.layers(features)
        return found.squeeze(1)


def domain_loss(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Binary log-loss of logits [s] of source rows and [t] of target rows; each domain counts half.

    Weights are relative to each other within their domain.
    """
    ours, theirs = functional.softplus(-source), functional.softplus(target)
    return (_mean(ours, source_weights) + _mean(theirs, target_weights)) / 2


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (weights * values).sum() / weights.sum()


def roughness(discriminator: nn.Module, rows: Tensor) -> Tensor:
    """Half the mean squared gradient of a discriminator's logits at rows [n, H], for it alone to lower.

    The zero-centred penalty of Mescheder et al. 2018, equation 9.
    """
    fixed = rows.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(fixed).sum(), fixed, create_graph=True)
    return slope.pow(2).sum(dim=1).mean() / 2


def uniform_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of a discriminator's logits [n] with one half for either domain (Tzeng 2015, eq. 4)."""
    return (functional.softplus(logits) - logits / 2).mean()


def certainty(probabilities: Tensor) -> Tensor:
    """1 + exp(-entropy) [n] of class probabilities [n, C]: sure examples count up to twice (CDAN+E)."""
    entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(dim=1)
    return 1 + torch.exp(-entropy)


class MultilinearMap(nn.Module):
    """Features [n, H] with class probabilities [n, C]: all products [n, H * C].

    Above 4,096 of them random projections stand in, (R f) * (R' g) / sqrt(d), whose inner products are
    those of the products on average.
    """

    first: Tensor | None
    second: Tensor | None

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        whole = dim * classes
        self.width = min(whole, _MOST_MAPPED)
        random = whole > _MOST_MAPPED
        self.register_buffer("first", torch.randn(dim, self.width) if random else None)
        self.register_buffer("second", torch.randn(classes, self.width) if random else None)

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        if self.first is None or self.second is None:
            return (features[:, :, None] * probabilities[:, None, :]).flatten(start_dim=1)
        return (features @ self.first) * (probabilities @ self.second) / math.sqrt(self.width)
