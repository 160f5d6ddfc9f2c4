"""A backbone opened at a tap, with the job's examples passed through its trunk once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbone import GRAPH, BackboneCard, read_card
from models.dataset import Pack
from models.errors import JobFailed
from models.fitspec import BackboneChoice
from models.modalities.base import Prepared
from training.deep.graft import Graft
from training.deep.parent import parent_tail, stored_numbers
from training.graft.blocks import Block, main_way
from training.graft.module import GraphModule
from training.graft.tail import Rows, Tail, open_tail
from training.methods.base import Problem

if TYPE_CHECKING:
    from training.job import Job
    from training.source import Source


@dataclass(frozen=True, eq=False)
class Ground:
    """The backbone that a job trains a part of. `source` holds the features of its top tap.

    `parent` is the tail that training goes on from, None where it starts from the backbone as it is.
    """

    job: Job
    source: Source
    parent: Graft | None = None
    _opened: dict[str, Tail] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job) -> Ground:
        """The first real backbone of the job, at its default tap."""
        real = [source for source in job.sources if not source.backbone.baseline] or job.sources
        tops = [source for source in real if source.tap == _card(source.backbone).default_tap]
        source = (tops or real)[0]
        return cls(job, source, parent_tail(job, source.backbone))

    @property
    def choice(self) -> BackboneChoice:
        return self.source.backbone

    @cached_property
    def problem(self) -> Problem:
        """The examples with their raw features at the top, as the parent's tail gives them."""
        raw, target = self.source.raw, self.job.data.target
        if self.parent is None:
            return raw
        there = None if raw.target is None or target is None else self.parent.run(target.contents)[1]
        return replace(raw, X=self.parent.run(self.job.data.pack.contents)[1], target=there)

    @cached_property
    def card(self) -> BackboneCard:
        return _card(self.choice)

    @cached_property
    def blocks(self) -> list[Block]:
        """From the input to the top, each with weights. Raises JobFailed (`nothing_to_train`)."""
        graph = (Path(self.choice.folder) / GRAPH).read_bytes()
        top = self.card.default_tap
        found = main_way(graph, [tap.name for tap in self.card.taps if tap.name != top], top)
        if not found:
            message = f"{self.choice.id} has no weights to train: use a method on fixed features."
            raise JobFailed(message, code="nothing_to_train")
        return found

    def open(self, tap: str) -> Tail:
        """The backbone cut at a tap, opened once. Raises JobFailed (`unsupported_operator`)."""
        if tap not in self._opened:
            tail = open_tail(
                Path(self.choice.folder), tap, top=self.card.default_tap, threads=self.job.spec.threads
            )
            if self.parent is not None:
                _take_over(tail.module, self.parent)
            self._opened[tap] = tail
        return self._opened[tap]

    def lowest(self, tap: str) -> str:
        """The tap, or the parent's where that lies lower: what the parent changed is part of the model."""
        if self.parent is None:
            return tap
        order = [block.tap for block in self.blocks]
        return min(tap, self.parent.tap, key=lambda name: order.index(name) if name in order else len(order))

    def rows(self, tail: Tail, prepared: Sequence[Prepared]) -> Rows:
        """Prepared examples where the trunk ends."""
        phases = self.job.phases
        return tail.edges(
            prepared, lambda done, total: phases.progress(0.1 * done / total, f"Through the trunk: {done}.")
        )

    def pass_through(self, tail: Tail, pack: Pack) -> Rows:
        """Examples where the trunk ends; at the top tap they are cached features, and nothing is run."""
        (edge, *others) = tail.cut.edges
        if others or tail.module.weights:
            return self.rows(tail, self.prepare(tail, pack))
        return Rows({edge: list(self.job.embed_at(self.choice, self.card.default_tap, pack))})

    def prepare(self, tail: Tail, pack: Pack) -> list[Prepared]:
        return [tail.preprocessor.prepare(content) for content in pack.contents]


def _take_over(module: GraphModule, parent: Graft) -> None:
    """Give the module the weights of the parent's tail."""
    stored = stored_numbers(parent)
    with torch.no_grad():
        for name, weight in module.weights.items():
            if name in stored:
                weight.copy_(torch.from_numpy(stored[name].copy()))


def _card(choice: BackboneChoice) -> BackboneCard:
    return read_card(Path(choice.folder))


def groups(folds: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Folds put together until there are at most so many; -1 (never tested) stays."""
    return np.where(folds >= 0, folds % most, -1)
