"""The training loop: AdamW, a short warm-up, cosine decay, clipped gradients, a time limit, no surprises."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.base import TaskName
from models.errors import JobFailed
from training.deep.adamw import AdamW
from training.deep.network import Batch, Network
from training.graft.tail import Rows

_WARM_UP = 0.1
_CLIP = 1.0
_TIMED = 3
Report = Callable[[float], None]
"""Called with the share of the training that is done."""


@dataclass(frozen=True)
class Moment:
    """One step as an extra loss sees it. `share` runs from 0 to 1. `rows` are numbers of examples."""

    network: Network
    rows: Sequence[int]
    features: Tensor
    logits: Tensor
    targets: Tensor
    share: float
    rng: np.random.Generator


Extra = Callable[[Moment], Tensor]
"""A term that is added to the loss: a penalty, a confusion of domains."""


class Deal(Protocol):
    """Deals the batches of a training."""

    def take(self) -> NDArray[np.int64]:
        """The rows of the next one."""
        ...


@dataclass(frozen=True)
class Course:
    """How a network is trained. `rates` are learning rates of the tail's weights; others stay fixed."""

    steps: int
    batch_size: int
    rates: Mapping[str, float]
    head_rate: float
    weight_decay: float
    seconds: float
    seed: int
    extras: Sequence[Extra] = ()
    modules: Sequence[nn.Module] = field(default=())
    """Other modules that learn beside the network: a discriminator, say."""
    module_rate: float | None = None
    """Their learning rate; None for the head's."""
    loss: Extra | None = None
    """What is minimised in place of the task's own loss."""
    order: Callable[[NDArray[np.int64], int, np.random.Generator], Deal] | None = None
    """(rows to learn from, size of a batch, luck) -> who deals the batches; None for `Order`."""


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def settle(seed: int, threads: int) -> None:
    """Seed torch and give it so many threads, before anything is drawn.

    How many decides in which order sums are rounded: left to the machine, equal jobs would differ between
    machines, and trainings side by side take turns at more threads than there are cores.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)


def train(
    network: Network,
    data: Rows,
    targets: NDArray[np.float64],
    learn: NDArray[np.int64],
    task: TaskName,
    course: Course,
    report: Report = lambda share: None,
) -> int:
    """Train in place on the rows `learn`; gives the steps done, fewer than asked where time ran out.

    `targets` [n, C] are one-hot rows, 0/1 rows or values. Row r of the data is example r % n: behind the
    examples there may be varied copies of them all. Raises JobFailed (`non_finite`) when the loss is no
    longer a number.
    """
    where = device()
    network.to(where)
    for module in course.modules:
        module.to(where)
    truth = torch.tensor(targets, dtype=torch.float32, device=where)
    spread = float(truth[torch.as_tensor(learn % len(truth))].var()) or 1.0
    optimiser = AdamW(_groups(network, course), course.weight_decay, _CLIP)
    rng = np.random.default_rng(course.seed)
    order = (course.order or Order)(learn, course.batch_size, rng)
    total, started, step = course.steps, time.monotonic(), 0
    while step < total:
        taken = order.take()
        rows = taken % len(truth)
        features = network.features(data.batch(taken.tolist(), where))
        logits = network.logits(features)
        moment = Moment(network, rows.tolist(), features, logits, truth[rows], step / total, rng)
        loss = course.loss(moment) if course.loss else task_loss(task, logits, truth[rows], spread)
        for extra in course.extras:
            loss = loss + extra(moment)
        if not torch.isfinite(loss):
            raise _diverged("the loss")
        optimiser.step(loss, _factor(step / total))
        step += 1
        if step == 1:
            started = time.monotonic()  # the first step pays for what is done once
        if step == _TIMED:  # cut the course while the schedule can still be planned to its end
            total = min(total, _affordable(course.seconds, (time.monotonic() - started) / (step - 1)))
        report(step / total)
    return step


def task_loss(task: TaskName, logits: Tensor, targets: Tensor, spread: float = 1.0) -> Tensor:
    """Mean log-loss, mean summed binary log-loss, or mean squared error over the variance `spread`."""
    if task == "classification":
        return functional.cross_entropy(logits, targets)
    if task == "multilabel":
        return functional.binary_cross_entropy_with_logits(logits, targets)
    return functional.mse_loss(logits, targets) / spread


@dataclass
class Order:
    """Batches of rows without replacement, dealt anew when all were seen; never a batch of one."""

    learn: NDArray[np.int64]
    size: int
    rng: np.random.Generator
    _left: list[int] = field(default_factory=list)

    def take(self) -> NDArray[np.int64]:
        if len(self._left) < min(self.size, len(self.learn)):
            self._left = self.rng.permutation(self.learn).tolist()
        rows, self._left = self._left[: self.size], self._left[self.size :]
        return np.array(rows, np.int64)


def _groups(network: Network, course: Course) -> list[dict[str, Any]]:
    other = [p for module in course.modules for p in module.parameters()]
    beside = {"params": other, "lr": course.module_rate or course.head_rate}
    return [*network.groups(course.rates, course.head_rate), *([beside] if other else [])]


def _factor(share: float) -> float:
    """Of all rates, when so much of the training is done: up in a tenth of it, then down a cosine."""
    return min(1.0, (share + 1e-3) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))


def _diverged(what: str) -> JobFailed:
    message = f"Training diverged: {what} is no longer a number. Lower learning_rate."
    return JobFailed(message, code="non_finite")


def _affordable(seconds: float, each: float) -> int:
    return max(_TIMED, int(seconds / max(each, 1e-6)))


def predict(
    network: Network, data: Rows, rows: NDArray[np.int64], batch_size: int = 64
) -> NDArray[np.float64]:
    """Logits [len(rows), C], in evaluation. Raises JobFailed (`non_finite`)."""
    found = _passed(network, data, rows, batch_size, network)
    if not all(np.isfinite(part).all() for part in found):
        raise _diverged("an answer")
    return np.concatenate(found) if found else np.empty((0, network.layers[-1].out_features))  # type: ignore[arg-type]


def embed(network: Network, data: Rows, rows: NDArray[np.int64], batch_size: int = 64) -> NDArray[np.float64]:
    """What the last layer sees of one row or more, [len(rows), H], in evaluation."""

    def seen(batch: Batch) -> Tensor:
        return network.embed(network.features(batch))

    return np.concatenate(_passed(network, data, rows, batch_size, seen))


def at_the_top(
    network: Network, data: Rows, rows: NDArray[np.int64], batch_size: int = 64
) -> NDArray[np.float64]:
    """The features of one row or more at the top tap, [len(rows), D], in evaluation."""
    return np.concatenate(_passed(network, data, rows, batch_size, network.features))


def _passed(
    network: Network, data: Rows, rows: NDArray[np.int64], batch_size: int, answer: Callable[[Batch], Tensor]
) -> list[NDArray[np.float64]]:
    where = device()
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            batch = data.batch(rows[start : start + batch_size].tolist(), where)
            found.append(answer(batch).double().cpu().numpy())
    network.train()
    return found


__all__ = [
    "Batch",
    "Course",
    "Extra",
    "Moment",
    "Order",
    "at_the_top",
    "device",
    "embed",
    "predict",
    "settle",
    "task_loss",
    "train",
]
