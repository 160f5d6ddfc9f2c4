"""Tail and heads of several tasks, trained together on the examples of all of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.manifest import Output
from training.calibrate import temperature
from training.deep.graft import Graft, Layer, assemble
from training.deep.loop import Course, Moment, predict, settle, task_loss, train
from training.deep.material import Ground, groups
from training.deep.network import Network
from training.deep.settings import DeepHyperparameters, steps_for
from training.deep.tuning import probe, rates_of
from training.deep.uncertainty import Uncertainty
from training.evaluate import Evidence, half_width, named_metrics
from training.folds import Folds, make_folds
from training.frame import Frame
from training.graft.module import write_back
from training.graft.tail import Rows, Tail
from training.heads import AffineHead, activate
from training.methods.base import Problem, Setting
from training.several import Answer

if TYPE_CHECKING:
    from training.job import Job, Result

Array = NDArray[np.float64]
_PROVED = 256  # examples on which the exported graph must agree


@dataclass(frozen=True, eq=False)
class Task:
    """One of the tasks: its examples lie at `rows` of all, its logits in `columns` of the network's.

    Numbers are learnt in units of `scale` from `centre`, so that no task is louder than another.
    """

    problem: Problem
    fold: NDArray[np.int64]
    rows: slice
    columns: slice

    @cached_property
    def centre(self) -> float:
        return float(self.problem.y.mean()) if self.problem.task == "regression" else 0.0

    @cached_property
    def scale(self) -> float:
        return float(self.problem.y.std()) or 1.0 if self.problem.task == "regression" else 1.0

    @property
    def targets(self) -> Array:
        return np.asarray((self.problem.targets - self.centre) / self.scale)

    def evidence(self, logits: Array) -> Evidence:
        """Of out-of-fold logits [n, C] in the problem's units."""
        tested = self.fold >= 0
        problem, found = self.problem.take(tested), logits[tested]
        factor = temperature(problem.activation, found, problem.targets)
        return Evidence({}, problem, found * factor, factor)


class JointLoss(nn.Module):
    """The loss of a batch that holds rows of any of the tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tasks
        self.weigh = Uncertainty([task.problem.task for task in tasks])

    def forward(self, moment: Moment) -> Tensor:
        rows, losses = np.asarray(moment.rows), dict[int, Tensor]()
        for number, task in enumerate(self.tasks):
            own = torch.as_tensor((rows >= task.rows.start) & (rows < task.rows.stop))
            if own.any():
                logits, targets = (part[own][:, task.columns] for part in (moment.logits, moment.targets))
                losses[number] = task_loss(task.problem.task, logits, targets)
        found: Tensor = self.weigh(losses)
        return found


def run(
    job: Job,
    parts: Mapping[str, Job],
    given: DeepHyperparameters,
    blocks: Literal["all"] | int,
    name: str,
    setting: Setting,
) -> Result:
    """Cross-validate the joint training, train on everything, and export all answers as one graph."""
    from training.job import Result  # it imports the methods, and so this module

    ground = Ground.of(job)
    last = len(ground.blocks) if blocks == "all" else min(blocks, len(ground.blocks))
    tap, rates = rates_of(ground, given, last)
    tail = ground.open(tap)
    work = _Work(
        job, given, tail, rates, _tasks(ground, list(parts.values()), given.folds), _rows(ground, tail, parts)
    )
    evidence = work.cross_validate()
    network, steps = work.train(np.arange(len(work.rows)), work.trainings - 1)
    own, *others = evidence
    answers = [
        Answer(Output(name=key, task=it.problem.task, labels=it.problem.labels, interval=half_width(it)))
        for key, it in zip(parts, others, strict=True)
    ]
    found: Setting = {**setting, "blocks": last, "steps": steps, "learning_rate": given.learning_rate}
    return Result(
        method="multi_task",
        setting=found if own.problem.activation == "identity" else {**found, "temperature": 1 / own.factor},
        backbone=ground.choice,
        tap=tap,
        head=work.graft(ground, tap, network, evidence),
        labels=job.data.names,
        evidence=own,
        folds=Folds(work.tasks[0].fold),
        answers=tuple(answers),
        metrics=named_metrics(dict(zip([name, *parts], evidence, strict=True))),
    )


def _tasks(ground: Ground, parts: Sequence[Job], folds: int) -> list[Task]:
    top = ground.card.default_tap
    problems = [ground.problem]
    for part in parts:
        X = ground.job.embed_at(ground.choice, top, part.data.pack)
        problems.append(Problem(X, part.data.y, part.spec.task, part.data.names, part.spec.seed))
    found, row, column = [], 0, 0
    for problem in problems:
        width = problem.targets.shape[1]
        fold = groups(make_folds(problem).fold, folds)
        found.append(Task(problem, fold, slice(row, row + len(problem)), slice(column, column + width)))
        row, column = row + len(problem), column + width
    return found


def _rows(ground: Ground, tail: Tail, parts: Mapping[str, Job]) -> Rows:
    """The examples of all tasks, in their order, where the trunk ends."""
    pack = ground.job.data.pack
    for part in parts.values():
        pack = pack.joined(part.data.pack)
    return ground.pass_through(tail, pack)


@dataclass(frozen=True, eq=False)
class _Work:
    job: Job
    given: DeepHyperparameters
    tail: Tail
    rates: dict[str, float]
    tasks: Sequence[Task]
    rows: Rows

    @cached_property
    def targets(self) -> Array:
        """[n, C] of all tasks: those of the others are 0, and never looked at."""
        found = np.zeros((len(self.rows), self.tasks[-1].columns.stop))
        for task in self.tasks:
            found[task.rows, task.columns] = task.targets
        return found

    @cached_property
    def fold(self) -> NDArray[np.int64]:
        return np.concatenate([task.fold for task in self.tasks])

    @property
    def trainings(self) -> int:
        return int(self.fold.max(initial=-1)) + 2

    def train(self, learn: NDArray[np.int64], number: int) -> tuple[Network, int]:
        """A network trained on the rows `learn` of all; and the steps that took."""
        settle(self.job.spec.seed + number, self.job.spec.threads)
        network, loss = self._network(learn), JointLoss(self.tasks)
        course = Course(
            steps=steps_for(self.given, len(learn)),
            batch_size=self.given.batch_size,
            rates=self.rates,
            head_rate=self.given.head_rate,
            weight_decay=self.given.weight_decay,
            seconds=self.given.time_budget_s / self.trainings,
            seed=self.job.spec.seed + number,
            modules=[loss],
            loss=loss,
        )

        def report(done: float) -> None:
            share = 0.1 + 0.9 * (number + done) / self.trainings
            self.job.phases.progress(share, f"Training {number + 1} of {self.trainings}.")

        task = self.tasks[0].problem.task
        return network, train(network, self.rows, self.targets, learn, task, course, report)

    def _network(self, learn: NDArray[np.int64]) -> Network:
        """The pretrained tail with a probe of each task, all in one frame."""
        X = np.concatenate([task.problem.X for task in self.tasks])[learn]
        frame = replace(Frame.of(X), axes=None)
        heads = [_probe(task, learn, frame) for task in self.tasks]
        weight, bias = (np.concatenate(part) for part in zip(*heads, strict=True))
        return Network(
            copy.deepcopy(self.tail.module), self.tail.top, AffineHead(weight, bias, "identity"), frame
        )

    def cross_validate(self) -> list[Evidence]:
        """Out-of-fold predictions of each task, by networks that had not seen the row."""
        logits = np.zeros(self.targets.shape)
        for number in range(self.trainings - 1):
            network, _ = self.train(np.flatnonzero(self.fold != number), number)
            held_out = np.flatnonzero(self.fold == number)
            logits[held_out] = predict(network, self.rows, held_out)
        return [
            task.evidence(task.centre + task.scale * logits[task.rows, task.columns]) for task in self.tasks
        ]

    def graft(self, ground: Ground, tap: str, network: Network, evidence: Sequence[Evidence]) -> Graft:
        """Tail and heads as one graph, each task in its own units and at its own temperature."""
        factors = [task.scale * it.factor for task, it in zip(self.tasks, evidence, strict=True)]
        widths = [task.columns.stop - task.columns.start for task in self.tasks]
        factor, centre = np.repeat(factors, widths), np.repeat([task.centre for task in self.tasks], widths)
        weight, bias = network.head_layers()[-1]
        layer: Layer = (weight * factor[:, None], bias * factor + centre)
        logits = (
            predict(network, self.rows, np.arange(min(len(self.tasks[0].problem), _PROVED))) * factor + centre
        )
        kinds = [task.problem.activation for task in self.tasks]
        scores = [
            activate(kind, logits[:, task.columns]) for kind, task in zip(kinds, self.tasks, strict=True)
        ]
        further = tuple(zip(kinds[1:], widths[1:], strict=True))
        return Graft(
            ground.choice,
            tap,
            assemble(write_back(network.tail), network.top, [layer], kinds[0], further),
            kinds[0],
            ground.problem.X.shape[1],
            np.concatenate(scores, axis=1),
            further,
        )


def _probe(task: Task, learn: NDArray[np.int64], frame: Frame) -> tuple[Array, Array]:
    """Weight and bias in `frame` of a probe on those of the task's examples that are among `learn`."""
    own = learn[(learn >= task.rows.start) & (learn < task.rows.stop)] - task.rows.start
    part = task.problem.take(own)
    if part.task == "regression":
        part = replace(part, y=task.targets[own])
    head, inner = probe(part)
    raw = head.lifted(inner)
    return raw.weight * frame.scale, raw.bias + raw.weight @ frame.mean
