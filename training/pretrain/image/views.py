"""From drawings and scenes to training views [N, 3, 64, 64] in [0, 1], as batches of tensors.

Everything here runs on the device of its input. Chance comes from the generator that is handed in, which
lives on the processor, so that a seed means the same on every device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)

SIDE = 64


class Dice:
    """Uniform and normal numbers in the shapes that views need."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=self.generator) * (high - low) + low
        return drawn.to(self.device)

    def normal(self, spread: float, *shape: int) -> Tensor:
        return (torch.randn(shape, generator=self.generator) * spread).to(self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Booleans."""
        return self.uniform(0, 1, *shape) < probability


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """The same numbers in [0, 1], float32."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


def glyph_views(ink: Tensor, dice: Dice) -> Tensor:
    """Ink [2, P, 64, 64] in [0, 1], two drawings a class -> views [2 P, 3, 64, 64].

    Both drawings of a pair mostly share paper and ink: dark on light, light on dark, or two colours.
    """
    pairs = ink.shape[1]
    paper, pen = _paper_and_pen(pairs, dice)
    other_paper, other_pen = _paper_and_pen(pairs, dice)
    alone = dice.chance(0.15, pairs, 1)
    papers = torch.stack([paper, torch.where(alone, other_paper, paper)])[..., None, None]
    pens = torch.stack([pen, torch.where(alone, other_pen, pen)])[..., None, None]
    flat = (papers + (pens - papers) * ink[:, :, None]).flatten(0, 1)
    flat = coarsen(flat, dice, probability=0.2, smallest=10)
    return _noisy(flat, dice)


def scene_views(scenes: Tensor, dice: Dice) -> Tensor:
    """Scenes [2, P, 3, S, S] in [0, 1] -> views [2 P, 3, 64, 64]: another crop and another light each."""
    flat = crop(scenes.flatten(0, 1), dice)
    flat = coarsen(relight(flat, dice), dice, probability=0.4, smallest=20)
    return _noisy(flat, dice)


def crop(x: Tensor, dice: Dice) -> Tensor:
    """A random part of 25 to 100 % of the area, tilted a little, half of them mirrored."""
    n = len(x)
    side = dice.uniform(0.25, 1.0, n).sqrt()
    aspect = dice.normal(0.12, n).exp()
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    turn = dice.normal(0.12, n)
    mirror = 1 - 2 * dice.chance(0.5, n).float()
    right, down = dice.uniform(-1, 1, n) * (1 - width), dice.uniform(-1, 1, n) * (1 - height)
    rows = [
        torch.stack([width * turn.cos() * mirror, -height * turn.sin(), right], 1),
        torch.stack([width * turn.sin() * mirror, height * turn.cos(), down], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def relight(x: Tensor, dice: Dice) -> Tensor:
    """Brightness, contrast, saturation and a mixing of channels; one in ten becomes grey."""
    n = len(x)
    mixing = torch.eye(3, device=x.device) + dice.normal(0.06, n, 3, 3)
    x = torch.einsum("nij,njhw->nihw", mixing, x)
    grey = x.mean(1, keepdim=True)
    colourful = dice.uniform(0.5, 1.5, n, 1, 1, 1) * ~dice.chance(0.1, n, 1, 1, 1)
    x = grey + colourful * (x - grey)
    level = x.mean((1, 2, 3), keepdim=True)
    x = level + dice.uniform(0.6, 1.5, n, 1, 1, 1) * (x - level) + dice.normal(0.12, n, 1, 1, 1)
    return x.clamp(0, 1)


def coarsen(x: Tensor, dice: Dice, probability: float, smallest: int) -> Tensor:
    """That share of a batch, as it would look enlarged from `smallest` to 48 pixels.

    One size a quarter of the share, so that the quarter stays one tensor.
    """
    count = int(len(x) * probability) // 4
    order = torch.randperm(len(x), generator=dice.generator).to(x.device)
    x = x.clone()
    for part in range(4):
        rows = order[part * count : (part + 1) * count]
        side = round(float(dice.uniform(math.log(smallest), math.log(48), 1).exp()))
        small = F.interpolate(x[rows], size=(side, side), mode="area")
        x[rows] = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return x


def _paper_and_pen(pairs: int, dice: Dice) -> tuple[Tensor, Tensor]:
    """Colours [P, 3] that stand out from each other; a part of them plain white and black."""
    dark = dice.uniform(0, 0.3, pairs, 3)
    light = dice.uniform(0.55, 1, pairs, 3)
    plain = dice.chance(0.6, pairs, 1).float()
    dark, light = dark * (1 - plain), light * (1 - plain) + plain
    inverted = dice.chance(0.5, pairs, 1)
    return torch.where(inverted, dark, light), torch.where(inverted, light, dark)


def _noisy(x: Tensor, dice: Dice) -> Tensor:
    strength = dice.uniform(0, 0.06, len(x), 1, 1, 1) * dice.chance(0.5, len(x), 1, 1, 1)
    return (x + strength * dice.normal(1.0, *x.shape)).clamp(0, 1)
