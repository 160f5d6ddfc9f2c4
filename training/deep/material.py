"""A backbone opened at a tap, with the job's examples passed through its trunk once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.backbone import GRAPH, BackboneCard, read_card
from models.cut import INPUT
from models.dataset import Pack
from models.fitspec import BackboneChoice
from models.modalities.base import Prepared
from training.graft.blocks import Block, blocks
from training.graft.tail import Rows, Tail, open_tail
from training.methods.base import Problem

if TYPE_CHECKING:
    from training.job import Job
    from training.source import Source


@dataclass(frozen=True, eq=False)
class Ground:
    """The backbone that a job trains a part of. `source` holds the features of its top tap."""

    job: Job
    source: Source

    @classmethod
    def of(cls, job: Job) -> Ground:
        """The first real backbone of the job, at its default tap."""
        real = [source for source in job.sources if not source.backbone.baseline] or job.sources
        tops = [source for source in real if source.tap == _card(source.backbone).default_tap]
        return cls(job, (tops or real)[0])

    @property
    def choice(self) -> BackboneChoice:
        return self.source.backbone

    @property
    def problem(self) -> Problem:
        """The examples with their raw features at the top."""
        return self.source.raw

    @cached_property
    def card(self) -> BackboneCard:
        return _card(self.choice)

    @cached_property
    def blocks(self) -> list[Block]:
        """From the input to the top; blocks without weights are left out."""
        names = [tap.name for tap in sorted(self.card.taps, key=lambda tap: tap.depth)]
        below = [name for name in names if name != self.card.default_tap]
        graph = (Path(self.choice.folder) / GRAPH).read_bytes()
        found = blocks(graph, [INPUT, *below, self.card.default_tap])
        return [block for block in found if block.weights]

    def open(self, tap: str) -> Tail:
        """The backbone cut at a tap. Raises JobFailed (`unsupported_operator`)."""
        return open_tail(
            Path(self.choice.folder), tap, top=self.card.default_tap, threads=self.job.spec.threads
        )

    def rows(self, tail: Tail, prepared: Sequence[Prepared]) -> Rows:
        """Prepared examples where the trunk ends."""
        phases = self.job.phases
        return tail.edges(
            prepared, lambda done, total: phases.progress(0.1 * done / total, f"Through the trunk: {done}.")
        )

    def prepare(self, tail: Tail, pack: Pack) -> list[Prepared]:
        return [tail.preprocessor.prepare(content) for content in pack.contents]


def _card(choice: BackboneChoice) -> BackboneCard:
    return read_card(Path(choice.folder))


def groups(folds: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Folds put together until there are at most so many; -1 (never tested) stays."""
    return np.where(folds >= 0, folds % most, -1)
