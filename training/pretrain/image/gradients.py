"""Histograms of oriented gradients: Dalal and Triggs, CVPR 2005, as a few tensor operations."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)

DIRECTIONS = 8
CELL = 8
STRIDE = 4
CALM = 0.1
"""Added to a cell's norm, so that faint gradients do not count as much as strong ones."""
FAINT = 1e-3
DIM = DIRECTIONS * 7 * 7


def directions() -> NDArray[np.float32]:
    """[DIRECTIONS, 2]: cosine and sine of twice each direction, as opposite gradients are one edge."""
    angles = 2 * math.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def gradients(x: Tensor) -> Tensor:
    """Pixels [N, 3, 64, 64] in [0, 1] -> [N, 392] of unit length, over cells of 8 x 8 at half the size.

    In the double angle a gradient (a, b) of length m is (a^2 - b^2, 2 a b) / m; each direction takes its
    positive projection, summed over the colours. A cell is divided by its norm.
    """
    x = F.avg_pool2d(x, 2)
    across = F.pad(x[..., 2:] - x[..., :-2], (1, 1, 0, 0))
    down = F.pad(x[..., 2:, :] - x[..., :-2, :], (0, 0, 1, 1))
    length = (across.square() + down.square() + FAINT**2).sqrt()
    doubled = torch.stack([(across.square() - down.square()) / length, 2 * across * down / length], 1)
    towards = torch.from_numpy(directions()).to(x)
    votes = F.relu(torch.einsum("dk,nkchw->ndchw", towards, doubled)).sum(2)
    cells = F.avg_pool2d(votes, CELL, STRIDE)
    cells = (cells / (cells.norm(dim=1, keepdim=True) + CALM)).flatten(1)
    return F.normalize(cells, eps=FAINT)
