"""The training loop: which word (or sound) is it, whoever speaks and wherever?

A cosine softmax with an additive margin (Wang et al. 2018, AM-Softmax) over all classes: clips of one word
must come closer to their class than to any other by the margin, across voices, rooms and microphones.
Beside it the embedding must tell, linearly, which sounds of speech are in the word, and which come first
and last: these are shared between words, so they are learnt from few clips and carry over to new words.

Both losses see the top of the network through a projection that is thrown away afterwards, since what lies
below one transfers better (Chen et al. 2020, SimCLR, section 4.2).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.pretrain.audio.clips import Clips
from training.pretrain.audio.disturb import Disturb
from training.pretrain.audio.network import WIDE, Network, planes

Say = Callable[[str], object]
STILL = 0.02  # channels that vary less are not blown up to the size of the others
PROJECTED = 160


@dataclass(frozen=True)
class Plan:
    """How long and how: `steps`, or `minutes` where that is given (then the machine decides the steps).

    `batch` clips a step; `rate`, of learning, rises over the share `warmup` and falls to zero; `decay` of
    weights; `scale` and `margin` of the cosine softmax; `spelling`, the weight of the second loss;
    `measured`, batches that the embedding is standardised over.
    """

    steps: int = 16_000
    minutes: float | None = None
    batch: int = 96
    rate: float = 2.5e-3
    scale: float = 20.0
    margin: float = 0.1
    spelling: float = 0.25
    warmup: float = 0.04
    decay: float = 0.02
    checkpoint_every: int = 50
    measured: int = 40


class Loss(nn.Module):
    """Loss of taps and labels [N]: by angle to one direction a class, and by spelling."""

    units: Tensor

    def __init__(self, units: NDArray[np.bool_], plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.register_buffer("units", torch.from_numpy(units).float())
        self.project = nn.Sequential(nn.Linear(3 * WIDE, PROJECTED, bias=False), nn.BatchNorm1d(PROJECTED))
        self.classes = nn.Parameter(torch.randn(len(units), PROJECTED))
        self.spell = nn.Linear(PROJECTED, units.shape[1]) if units.size else None

    def forward(self, taps: dict[str, Tensor], labels: Tensor) -> Tensor:
        projected = self.project(torch.cat([taps["stage4"], taps["stage4_peak"]], 1))
        cosine = functional.normalize(projected) @ functional.normalize(self.classes).T
        cosine = cosine - self.plan.margin * functional.one_hot(labels, len(self.classes))
        angular = functional.cross_entropy(self.plan.scale * cosine, labels)
        if self.spell is None:
            return angular
        told = functional.binary_cross_entropy_with_logits(
            self.spell(projected), self.units[labels], reduction="sum"
        )
        return angular + self.plan.spelling * told / len(labels)


def train(
    clips: Clips, plan: Plan, seed: int, *, checkpoint: Path | None = None, say: Say = print
) -> Network:
    """The trained network, on the CPU, in evaluation mode; a GPU does the work where there is one."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = Network().to(device)
    loss = Loss(clips.units, plan).to(device)
    disturb = Disturb(clips, seed, device)
    labels = torch.from_numpy(clips.labels).to(device)
    optimiser = torch.optim.AdamW(
        [*network.parameters(), *loss.parameters()], plan.rate, weight_decay=plan.decay
    )
    for step, progress in _progress(plan):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _schedule(progress, plan.warmup)
        ids = disturb.draw(plan.batch)
        value = _step(network, loss, optimiser, disturb, ids, labels[ids])
        if step % plan.checkpoint_every == 0:
            say(f"step {step}, {progress:.0%}: loss {value:.3f}")
            if checkpoint is not None:
                torch.save(network.state_dict(), checkpoint)
    standardise(network, disturb, plan)
    return network.cpu().eval()


@torch.no_grad()
def standardise(network: Network, disturb: Disturb, plan: Plan) -> None:
    """Set the embedding's mean and deviation, until now 0 and 1, to those over disturbed clips."""
    network.eval()
    rows = torch.cat([network(disturb(disturb.draw(plan.batch)))["embedding"] for _ in range(plan.measured)])
    network.mean.copy_(rows.mean(0))
    network.deviation.copy_(rows.std(0).clamp(min=STILL))


def _progress(plan: Plan) -> Iterator[tuple[int, float]]:
    start, step, done = time.monotonic(), 0, 0.0
    while done < 1:
        yield step, done
        step += 1
        done = step / plan.steps if plan.minutes is None else (time.monotonic() - start) / (60 * plan.minutes)


def _schedule(progress: float, warmup: float) -> float:
    """Share of the learning rate: a linear rise, then half a cosine down to zero."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _step(
    network: Network,
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    disturb: Disturb,
    ids: Tensor,
    labels: Tensor,
) -> float:
    with torch.no_grad():
        inputs, sounding = planes(disturb.warp(network.logmel(disturb(ids))))
        inputs = disturb.mask(inputs)
    value = loss(network.taps(inputs, sounding), labels)
    optimiser.zero_grad()
    value.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(value.detach())
