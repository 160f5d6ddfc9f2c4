"""Fine-tuning of a tail: probe first, then train (LP-FT, Kumar et al. 2022), the same in every fold.

A linear probe on the fixed features starts the head, so that the first steps do not spoil the features to
please a random head. Another one on the trained features may end it, where that is better out of fold: a head
that is trained for long on few examples fits them too closely (docs/auto.md, rule 8). Each fold trains a
network of its own from the pretrained weights; the model that is kept is trained on every example.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.deep.augment import copies_of, vary
from training.deep.graft import Graft, assemble, scaled
from training.deep.loop import Course, Extra, at_the_top, predict, settle, train
from training.deep.material import Ground, groups
from training.deep.network import Network
from training.deep.pairs import PairOrder
from training.deep.parent import overlap, parent_head
from training.deep.settings import Augment, DeepHyperparameters, steps_for
from training.evaluate import Evidence, make_evidence
from training.folds import Folds
from training.frame import Frame
from training.graft.blocks import Block
from training.graft.module import write_back
from training.graft.tail import Rows, Tail
from training.heads import AffineHead, activate
from training.methods.base import METHODS, Problem, Setting
from training.novelty import Examples, nearest_of

if TYPE_CHECKING:
    from training.job import Job, Result

_PROBE: dict[str, tuple[str, Setting]] = {
    "classification": ("logistic", {"C": 10.0}),
    "multilabel": ("logistic", {"C": 10.0}),
}
_PROVED = 256  # examples on which the exported graph must agree
_RIDGE: tuple[str, Setting] = ("ridge", {"penalty": "auto"})

Build = Callable[[Tail, Ground, Problem], Network]
"""(an opened tail, the backbone, the examples to learn from, with raw features) -> network to train."""

Extras = Callable[[Network, Rows, Problem], Sequence[Extra]]
"""(the network before training, all rows, the whole problem) -> terms of the loss. A term that is a module
learns beside the network."""


def probe(problem: Problem) -> tuple[AffineHead, Frame]:
    """A linear head on raw features, in the frame that it was fitted in."""
    name, setting = _PROBE.get(problem.task, _RIDGE)
    frame = Frame.of(problem.X)
    fitted = METHODS[name].fit(replace(problem, X=frame.enter(problem.X)), [setting])[0].head
    if not isinstance(fitted, AffineHead):
        raise TypeError("the probe is linear")
    return fitted, frame


def start(ground: Ground, problem: Problem) -> tuple[AffineHead, Frame]:
    """The head that training begins with: the parent's where it answers the same, else the linear probe."""
    return inherited(ground, problem) or probe(problem)


def inherited(ground: Ground, problem: Problem) -> tuple[AffineHead, Frame] | None:
    """The parent's head, where it answers the same, and the frame that it is in."""
    if ground.parent is None:
        return None
    plain = replace(Frame.of(problem.X), axes=None)
    head = parent_head(ground.job, ground.parent, plain)
    return None if head is None else (head, plain)


def build_plain(tail: Tail, ground: Ground, problem: Problem) -> Network:
    """The pretrained tail with the head that training begins with."""
    head, frame = start(ground, problem)
    return Network(copy.deepcopy(tail.module), tail.top, head, frame)


@dataclass(frozen=True, eq=False)
class Tuning:
    """What one method trains: where it cuts, at which rates, from what start, with which further terms.

    `rates` are learning rates by weight name; a weight without one stays as it is.
    """

    method: str
    tap: str
    rates: dict[str, float]
    setting: Setting
    build: Build = build_plain
    extras: Extras = lambda network, rows, problem: ()
    warnings: tuple[str, ...] = ()
    module_rate: float = 1.0
    """Learning rate of terms that are modules, over the head's."""
    paired: bool = False
    """Whether every batch holds pairs of one class."""
    refit: bool = False
    """Of classes: whether a linear probe on the trained features may take the place of the trained head."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network trained on every example, and what such a training was worth out of fold.

    `apart` [m] are the distances of the tested rows to the nearest that their network had learnt from.
    """

    rows: Rows
    network: Network
    steps: int
    evidence: Evidence
    folds: Folds
    apart: NDArray[np.float64]


def run(job: Job, ground: Ground, given: DeepHyperparameters, tuning: Tuning) -> Result:
    """Cross-validate the training, then train on everything and export."""
    return publish(job, ground, given, tuning, fit(job, ground, given, tuning))


def fit(job: Job, ground: Ground, given: DeepHyperparameters, tuning: Tuning) -> Trained:
    """Cross-validate the training, then train on everything."""
    tail = ground.open(tuning.tap)
    rows = ground.pass_through(tail, job.data.pack)
    fold = groups(job.folds.fold, given.folds)
    seen = _with_copies(ground, tail, rows, given.augment, fold)
    work = _Work(job, ground, given, tuning, tail, rows, seen, int(fold.max(initial=-1)) + 2)
    evidence, apart = work.cross_validate(fold)
    everything = np.arange(len(rows))
    network, steps = work.train(everything, work.trainings - 1)
    if evidence.setting.get("refit"):
        work.refit(network, everything)
    return Trained(rows, network, steps, evidence, Folds(fold), apart)


def _with_copies(ground: Ground, tail: Tail, rows: Rows, level: Augment, fold: NDArray[np.int64]) -> Rows:
    """The rows and behind them varied copies of all of them, once or more often."""
    job = ground.job
    copies = copies_of(len(rows), level, job.spec.modality)
    if not copies:
        return rows
    rng = np.random.default_rng(job.spec.seed)
    prepared = ground.prepare(tail, job.data.pack)
    for _ in range(copies):
        more = ground.rows(tail, vary(job.spec.modality, prepared, level, fold, rng))
        rows = Rows({edge: [*values, *more.edges[edge]] for edge, values in rows.edges.items()})
    return rows


def publish(job: Job, ground: Ground, given: DeepHyperparameters, tuning: Tuning, trained: Trained) -> Result:
    """The trained tail and head as one graph, at the temperature that the evidence asks for."""
    from training.job import Result  # it imports the methods, and so this module

    network, evidence, rows = trained.network, trained.evidence, trained.rows
    layers = scaled(network.head_layers(), evidence.factor)
    graph = assemble(write_back(network.tail, network.weights()), network.top, layers, network.activation)
    logits = evidence.factor * predict(network, rows, np.arange(min(len(rows), _PROVED)))
    graft = Graft(
        ground.choice,
        tuning.tap,
        graph,
        network.activation,
        ground.problem.X.shape[1],
        activate(network.activation, logits),
    )
    setting = {**evidence.setting, "steps": trained.steps, "learning_rate": given.learning_rate}
    if given.augment != "none":
        setting["augment"] = given.augment
    if network.activation != "identity":
        setting["temperature"] = 1 / evidence.factor
    return Result(
        method=tuning.method,
        setting=setting,
        backbone=ground.choice,
        tap=tuning.tap,
        head=graft,
        labels=job.data.names,
        evidence=evidence,
        folds=trained.folds,
        warnings=(*tuning.warnings, *overlap(job)),
        apart=trained.apart,
    )


@dataclass(frozen=True, eq=False)
class _Work:
    job: Job
    ground: Ground
    given: DeepHyperparameters
    tuning: Tuning
    tail: Tail
    rows: Rows
    seen: Rows
    trainings: int

    def train(self, learn: NDArray[np.int64], number: int) -> tuple[Network, int]:
        """A network trained on the rows `learn`; and the steps that took."""
        import torch

        settle(self.job.spec.seed + number, self.job.spec.threads)
        problem = self.ground.problem
        network = self.tuning.build(self.tail, self.ground, problem.take(learn))
        extras = self.tuning.extras(network, self.rows, problem)
        course = Course(
            steps=steps_for(self.given, len(learn)),
            batch_size=self.given.batch_size,
            rates=self.tuning.rates,
            head_rate=self.given.head_rate,
            weight_decay=self.given.weight_decay,
            seconds=self.given.time_budget_s / self.trainings,
            seed=self.job.spec.seed + number,
            extras=extras,
            modules=[extra for extra in extras if isinstance(extra, torch.nn.Module)],
            module_rate=self.tuning.module_rate * self.given.head_rate,
            order=self._pairs if self.tuning.paired else None,
        )
        phases, share = self.job.phases, 1 / self.trainings

        def report(done: float) -> None:
            phases.progress(
                0.1 + 0.9 * share * (number + done), f"Training {number + 1} of {self.trainings}."
            )

        copies = np.arange(0, len(self.seen), len(self.rows))[:, None]
        taken = (copies + learn).ravel()
        return network, train(network, self.seen, problem.targets, taken, problem.task, course, report)

    def refit(self, network: Network, learn: NDArray[np.int64]) -> None:
        """A probe on what the trained tail gives; a parent's head that still serves stays."""
        problem = self.ground.problem.take(learn)
        if inherited(self.ground, problem) is None:
            X = at_the_top(network, self.rows, learn).astype(np.float32)
            network.set_head(*probe(replace(problem, X=X)))

    def _pairs(self, learn: NDArray[np.int64], size: int, rng: np.random.Generator) -> PairOrder:
        return PairOrder(learn, self.ground.problem.y[learn % len(self.rows)], size, rng)

    def cross_validate(self, fold: NDArray[np.int64]) -> tuple[Evidence, NDArray[np.float64]]:
        """Out-of-fold predictions, each by a network that had not seen the row, and how far apart it lay.

        They are of the trained heads, or of the probes that take their place where the loss is lower so.
        """
        problem = self.ground.problem
        both = self.tuning.refit and problem.task == "classification"
        logits, apart = np.zeros((1 + both, *problem.targets.shape)), np.zeros(len(problem))
        for number in range(self.trainings - 1):
            learn, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            network, _ = self.train(learn, number)
            logits[0, held_out] = predict(network, self.rows, held_out)
            apart[held_out] = self._apart(network, learn, held_out)
            if both:
                self.refit(network, learn)
                logits[1, held_out] = predict(network, self.rows, held_out)
        tested = problem.take(np.flatnonzero(fold >= 0))
        settings: list[Setting] = [self.tuning.setting, {**self.tuning.setting, "refit": True}]
        found = [
            make_evidence(setting, tested, [some[fold >= 0]])
            for setting, some in zip(settings, logits, strict=False)
        ]
        return min(found, key=lambda one: one.loss or 0.0), apart[fold >= 0]

    def _apart(
        self, network: Network, learn: NDArray[np.int64], held_out: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        problem = self.ground.problem
        y = problem.y[learn] if problem.task == "classification" else None
        known = Examples(at_the_top(network, self.rows, learn), y, seed=self.job.spec.seed)
        return nearest_of(known, at_the_top(network, self.rows, held_out))


def rates_of(ground: Ground, given: DeepHyperparameters, last: int) -> tuple[str, dict[str, float]]:
    """The tap to cut at and the rate of each weight, to train the last so many blocks."""
    chosen = ground.blocks[-last:]
    return ground.lowest(chosen[0].tap), block_rates(given, chosen)


def block_rates(given: DeepHyperparameters, chosen: Sequence[Block]) -> dict[str, float]:
    """The rate of each weight of blocks in their order: the topmost learn at the rate that was given."""
    return {
        name: given.learning_rate * given.layer_decay ** (len(chosen) - 1 - index)
        for index, block in enumerate(chosen)
        for name in block.weights
    }
