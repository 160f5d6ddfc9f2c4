"""Pairs of one class in every batch, and a term that draws them together and all others apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.deep.loop import Moment


def contrastive_loss(directions: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Mean over rows i that have a fellow, and over their fellows p, of -log softmax_j(u_i . u_j / t)[p].

    `directions` [N, H] are of length one, `classes` [N]; j runs over all rows but i (Khosla et al. 2020,
    equation 2). Zero where no row has a fellow.
    """
    itself = torch.eye(len(directions), dtype=torch.bool, device=directions.device)
    fellows = (classes[:, None] == classes[None, :]) & ~itself
    nearness = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    likely = nearness.log_softmax(dim=1).masked_fill(~fellows, 0.0)
    counts = fellows.sum(dim=1)
    each = -likely.sum(dim=1) / counts.clamp(min=1)
    return each.sum() / (counts > 0).sum().clamp(min=1)


@dataclass(frozen=True)
class Together:
    """The term, of what the last layer sees, times `weight`."""

    weight: float
    temperature: float

    def __call__(self, moment: Moment) -> Tensor:
        seen = functional.normalize(moment.network.embed(moment.features), dim=1)
        return self.weight * contrastive_loss(seen, moment.targets.argmax(dim=1), self.temperature)


@dataclass
class PairOrder:
    """Batches of two rows each of as many classes as fit, drawn anew each time: varied copies count as rows.

    `learn` are rows whose classes `y` are; classes of one row are only dealt where there are no others.
    """

    learn: NDArray[np.int64]
    y: NDArray[np.int64]
    size: int
    rng: np.random.Generator
    _classes: list[NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        classes = [self.learn[self.y == c] for c in np.unique(self.y)]
        self._classes = [rows for rows in classes if len(rows) > 1] or classes

    def take(self) -> NDArray[np.int64]:
        there = len(self._classes)
        chosen = self.rng.choice(there, min(there, max(1, self.size // 2)), replace=False)
        each = max(2, self.size // len(chosen))
        return np.concatenate([self.rng.permutation(self._classes[c])[:each] for c in chosen])
