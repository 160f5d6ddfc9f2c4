"""The pretraining itself: several objectives at once, one network.

From the embedding, linear heads must tell all known parameters (mean squared error on standardised
values), the clean signal's shape, and what process made it; and two views of one signal must find each
other among all others of the batch (InfoNCE: van den Oord et al. 2018, arXiv:1807.03748; as in SimCLR,
Chen et al. 2020, arXiv:2002.05709).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.pretrain.signal.curriculum import KINDS, SHAPE_BINS, Batch, Floats, draw, parameter_names
from training.pretrain.signal.network import DIM, SignalNetwork

_TEMPERATURE = 0.15
_WARM_UP = 0.05
_LONGEST_GRADIENT = 5.0
_SAVE_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Plan:
    """How long to train: `steps`, or `minutes` where they end first. Only `steps` alone is reproducible.

    `rate` and `decay` are AdamW's; `calibration` batches set the scale of the known parameters.
    """

    steps: int = 6000
    minutes: float | None = None
    seed: int = 0
    rate: float = 3e-3
    decay: float = 0.02
    calibration: int = 24

    def progress(self, step: int, seconds: float) -> float:
        """0 at the start, 1 at the end."""
        clock = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.steps, clock))

    def rate_at(self, progress: float) -> float:
        """Linear warm-up, then half a cosine down to nothing."""
        if progress < _WARM_UP:
            return self.rate * (progress + 1e-3) / _WARM_UP
        return self.rate * 0.5 * (1 + float(np.cos(np.pi * (progress - _WARM_UP) / (1 - _WARM_UP))))


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each known parameter, by which they are standardised: float32 [parameters]."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, batches: Iterator[Batch]) -> Scale:
        known = np.concatenate([batch.known for batch in batches])
        return cls(np.nanmean(known, axis=0), np.nanstd(known, axis=0))


class Objectives(nn.Module):
    """The linear heads and the projector, which training needs and the backbone does not."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, parameters: int, scale: Scale) -> None:
        super().__init__()
        self.known = nn.Linear(DIM, parameters)
        self.shape = nn.Linear(DIM, SHAPE_BINS)
        self.kind = nn.Linear(DIM, KINDS)
        self.projector = nn.Sequential(
            nn.Linear(DIM, DIM, bias=False), nn.BatchNorm1d(DIM), nn.ReLU(), nn.Linear(DIM, 64)
        )
        self.register_buffer("mean", torch.from_numpy(scale.mean))
        self.register_buffer("deviation", torch.from_numpy(scale.deviation))

    def forward(self, code: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The losses of the codes [2 n, DIM] of a batch's two views."""
        target = (torch.from_numpy(batch.known).to(code.device) - self.mean) / self.deviation
        shape = torch.from_numpy(batch.shape).to(code.device)
        kind = torch.from_numpy(batch.kind).to(code.device)
        return {
            "known": known_loss(self.known(code), target.repeat(2, 1)),
            "shape": functional.mse_loss(self.shape(code), shape.repeat(2, 1)),
            "kind": functional.cross_entropy(self.kind(code), kind.repeat(2)),
            "views": info_nce(*self.projector(code).chunk(2)),
        }


WEIGHTS = {"known": 3.0, "shape": 1.0, "kind": 0.2, "views": 0.3}


def known_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over parameters of the mean squared error over the rows [n, parameters] where it is not nan."""
    there = torch.isfinite(target)
    squared = (predicted - torch.where(there, target, predicted)).square()
    return (squared.sum(dim=0) / there.sum(dim=0).clamp_min(1)).mean()


def info_nce(first: Tensor, second: Tensor) -> Tensor:
    """Each row of [n, D] must find its partner among the other's rows, by cosine; both ways."""
    one, other = functional.normalize(first, dim=1), functional.normalize(second, dim=1)
    likeness = one @ other.T / _TEMPERATURE
    right = torch.arange(len(one), device=one.device)
    return 0.5 * (functional.cross_entropy(likeness, right) + functional.cross_entropy(likeness.T, right))


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, and how long it took."""

    network: SignalNetwork
    steps: int
    seconds: float


def train(plan: Plan, checkpoint: Path, emit: Callable[[str], object] = print) -> Trained:
    """Train from scratch; the weights are saved to `checkpoint` each minute.

    On a GPU where there is one. Equal plans without `minutes` give equal networks on one machine's CPU.
    """
    torch.manual_seed(plan.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng, names = np.random.default_rng(plan.seed), parameter_names()
    scale = Scale.of(draw(names, rng) for _ in range(plan.calibration))
    network = SignalNetwork().to(device)
    objectives = Objectives(len(names), scale).to(device)
    optimiser = torch.optim.AdamW(
        [*network.parameters(), *objectives.parameters()], lr=plan.rate, weight_decay=plan.decay
    )
    start = saved = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(progress)
        losses = _step(network, objectives, optimiser, draw(names, rng))
        step, now = step + 1, time.monotonic()
        progress = plan.progress(step, now - start)
        if step % 100 == 0:
            emit(f"step {step}, {now - start:.0f} s: {losses}")
        if now - saved > _SAVE_EVERY:
            saved = now
            save(network, checkpoint)
    save(network, checkpoint)
    return Trained(network.eval().cpu(), step, time.monotonic() - start)


def _step(
    network: SignalNetwork, objectives: Objectives, optimiser: torch.optim.Optimizer, batch: Batch
) -> str:
    device = next(network.parameters()).device
    code = network(torch.from_numpy(batch.views).to(device).flatten(0, 1))["code"]
    losses = objectives(code, batch)
    total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
    optimiser.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), _LONGEST_GRADIENT)
    optimiser.step()
    return ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())


def save(network: SignalNetwork, checkpoint: Path) -> None:
    """Write the weights, whole or not at all."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(network.state_dict(), partial)
    partial.replace(checkpoint)


def load(checkpoint: Path) -> SignalNetwork:
    """The network of a checkpoint, in evaluation mode."""
    network = SignalNetwork()
    network.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu"))
    return network.eval()
