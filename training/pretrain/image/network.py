"""The network: a small ResNet of plain 3 x 3 convolutions, which one core runs fastest for their worth."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

SIDE = 64
WIDTHS = (16, 32, 64, 128)
"""Channels of the stem and of the three stages; each halves the side, from 32 to 4."""
SQUEEZED = 64
CODE = 256
"""Numbers of the code that tells glyphs apart."""


class Unit(nn.Sequential):
    """3 x 3 convolution and batch normalisation, which the export folds into one convolution."""

    def __init__(self, inside: int, outside: int, stride: int = 1, kernel: int = 3) -> None:
        convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outside))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that does the same at inference."""
        convolution, norm = cast(nn.Conv2d, self[0]), cast(nn.BatchNorm2d, self[1])
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        gain = norm.weight / torch.sqrt(variance + norm.eps)
        return convolution.weight * gain[:, None, None, None], norm.bias - mean * gain


class Stage(nn.Module):
    """Halves the side, then one residual block (He et al., CVPR 2016)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.down = Unit(inside, outside, stride=2)
        self.first = Unit(outside, outside)
        self.second = Unit(outside, outside)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down(x))
        return F.relu(x + self.second(F.relu(self.first(x))))


class Encoder(nn.Module):
    """Pixels [N, 3, 64, 64] in [0, 1] -> the maps of stem and stages, and the code [N, 256] of unit length.

    The code keeps where things are: it is linear in the last map, squeezed to 64 channels, not pooled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, WIDTHS[0], stride=2)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in pairwise(WIDTHS))
        self.squeeze = Unit(WIDTHS[-1], SQUEEZED, kernel=1)
        self.code = nn.Linear(SQUEEZED * 16, CODE)

    def maps(self, x: Tensor) -> list[Tensor]:
        """[stem, stage 1, stage 2, stage 3], after their activations."""
        found = [F.relu(self.stem(4 * x - 2))]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found

    def encode(self, last: Tensor) -> Tensor:
        """The code [N, 256] from the last map [N, 128, 4, 4]."""
        return F.normalize(self.code(F.relu(self.squeeze(last)).flatten(1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean of the last map [N, 128], code [N, 256])."""
        last = self.maps(x)[-1]
        return last.mean((2, 3)), self.encode(last)


class Projector(nn.Sequential):
    """Takes the contrastive loss of scenes off the features themselves (Chen et al., SimCLR, ICML 2020)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(WIDTHS[-1], 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128)
        )


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """InfoNCE over pairs [P, D]: each must find its partner among all others (NT-Xent of SimCLR)."""
    z = F.normalize(torch.cat([first, second]))
    pairs = len(first)
    logits = z @ z.T / temperature
    logits.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * pairs, device=z.device).roll(pairs)
    return F.cross_entropy(logits, partner)
