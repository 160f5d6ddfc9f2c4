"""Losses of several tasks, weighted by uncertainties that are learnt with them.

Kendall, Gal, Cipolla 2018, equations 7 and 10: with s_i = log sigma_i^2 the sum over tasks of
exp(-s_i) L_i + s_i / 2, and half of exp(-s_i) L_i where L_i is a mean squared error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.base import TaskName


class Uncertainty(nn.Module):
    """One `log_variance` a task, [T], 0 at first."""

    def __init__(self, tasks: Sequence[TaskName]) -> None:
        super().__init__()
        self.factors = [0.5 if task == "regression" else 1.0 for task in tasks]
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[int, Tensor]) -> Tensor:
        """The total of the mean losses of some of the tasks, by their numbers; one at least."""
        terms = [
            self.factors[i] * torch.exp(-self.log_variance[i]) * loss + self.log_variance[i] / 2
            for i, loss in losses.items()
        ]
        return torch.stack(terms).sum()
