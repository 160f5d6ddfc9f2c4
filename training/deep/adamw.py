"""Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

torch has one of its own, but making it imports torch's compiler, which takes longer than a small training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_MEAN, _SQUARE = 0.9, 0.999
_SMALL = 1e-8


@dataclass
class _Learning:
    weight: nn.Parameter
    rate: float
    mean: Tensor
    square: Tensor


@dataclass
class AdamW:
    """`groups` are as torch takes them: `params` and their learning rate `lr`."""

    groups: Sequence[dict[str, Any]]
    weight_decay: float
    clip: float
    _learning: list[_Learning] = field(init=False)
    _steps: int = 0

    def __post_init__(self) -> None:
        self._learning = [
            _Learning(weight, group["lr"], torch.zeros_like(weight), torch.zeros_like(weight))
            for group in self.groups
            for weight in group["params"]
        ]

    def step(self, loss: Tensor, factor: float) -> None:
        """Go down the gradient of `loss`, at the groups' rates times `factor`.

        The gradient of a group is first cut to the norm `clip`.
        """
        for one in self._learning:
            one.weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.groups:
            nn.utils.clip_grad_norm_(group["params"], self.clip)
        self._steps += 1
        with torch.no_grad():
            for one in self._learning:
                self._move(one, factor * one.rate)

    def _move(self, one: _Learning, rate: float) -> None:
        gradient = one.weight.grad
        if gradient is None:
            return
        one.mean.lerp_(gradient, 1 - _MEAN)
        one.square.mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
        spread = (one.square / (1 - _SQUARE**self._steps)).sqrt_().add_(_SMALL)
        one.weight.mul_(1 - rate * self.weight_decay)
        one.weight.addcdiv_(one.mean, spread, value=-rate / (1 - _MEAN**self._steps))
