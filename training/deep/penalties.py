"""Terms that keep a network near where it came from: by its weights, or by its answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.base import TaskName
from training.deep.loop import Moment, task_loss
from training.deep.network import Network


def squared_distance(weights: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """sum |w - w0|^2 over all weights."""
    return torch.stack([((w - w0) ** 2).sum() for w, w0 in zip(weights, start, strict=True)]).sum()


class StartingPoint:
    """L2-SP: alpha / 2 |w - w0|^2 + beta / 2 |v|^2 (Li et al. 2018, equation 2).

    w are the named weights of the tail, w0 what they are when this is made, v the head's.
    """

    def __init__(self, network: Network, names: Collection[str], alpha: float, beta: float) -> None:
        weights = network.tail.weights
        self._start = {name: weights[name].detach().clone() for name in names if name in weights}
        self._alpha, self._beta = alpha, beta

    def __call__(self, moment: Moment) -> Tensor:
        weights = moment.network.tail.weights
        now = [weights[name] for name in self._start]
        start = [value.to(moment.logits.device) for value in self._start.values()]
        heads = [value for name, value in moment.network.layers.named_parameters() if name.endswith("weight")]
        head = torch.stack([(value**2).sum() for value in heads]).sum()
        return self._alpha / 2 * squared_distance(now, start) + self._beta / 2 * head


@dataclass(frozen=True, eq=False)
class TowardsSource:
    """Output regularisation: `share` rho of the loss is that of the source model's answers (Yu et al. 2013).

    Yu's objective, (1 - rho) loss(labels) + rho KL(source | model), over 1 - rho, up to a constant.
    `answers` [n, C] are the source model's probabilities or values for each example; `spread` is what
    squared errors are measured in.
    """

    answers: NDArray[np.float64]
    task: TaskName
    share: float
    spread: float

    def __call__(self, moment: Moment) -> Tensor:
        rows = self.answers[list(moment.rows)]
        wanted = torch.tensor(rows, dtype=torch.float32, device=moment.logits.device)
        loss = task_loss(self.task, moment.logits, wanted, self.spread)
        return self.share / (1 - self.share) * loss
