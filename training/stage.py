"""A stage of a chain below a new head: the parent's fine-tuned part embeds the examples, and stays a part of
the model that comes of it.

A method that fits heads on fixed features then needs no network of its own: what it fits stands on what the
parent's tail gives, and both are written as one tail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.dataset import Pack
from training.deep.graft import Graft, stand_on
from training.deep.parent import overlap, parent_tail
from training.heads import scores
from training.job import read_parent
from training.several import parts_of
from training.source import Source

if TYPE_CHECKING:
    from training.job import Job, Result

PARENT = "parent"
"""Where the features of such a source are taken, in reports and in the cache, in the place of a tap."""
_CHUNK, _PROVED = 64, 256


@dataclass(frozen=True, eq=False)
class Stage:
    """`tail` is the parent's; `digest` that of its artefact, by which its features are cached."""

    tail: Graft
    digest: str

    @classmethod
    def of(cls, job: Job) -> Stage | None:
        """None where the job has no parent, or one that changed nothing below its head.

        Raises JobFailed (`parent_mismatch`) where it belongs to another backbone, CorruptArtefact.
        """
        parent = read_parent(job.spec)
        real = [choice for choice in job.spec.backbones if not choice.baseline]
        if parent is None or not real:
            return None
        tail = parent_tail(job, real[0])
        return None if tail is None else cls(tail, parent.manifest.digest)

    def features(self, job: Job, pack: Pack) -> NDArray[np.float32]:
        """float32 [len(pack), D]: what the parent's tail makes of examples, from the cache or now."""

        return job.features.through(self.digest, PARENT, pack, lambda contents: self.tail.run(contents)[1])

    def source(self, job: Job) -> Source:
        """Where heads are fitted on what the parent's tail gives."""
        data, named = job.data, job.data.pack.label_names()
        target = None if data.target is None else self.features(job, data.target)
        problem = job.problem(self.features(job, data.pack), target)
        names = self.features(job, named) if named else None
        return Source(self.tail.choice, PARENT, problem, names)

    def joined(self, job: Job, result: Result) -> Result:
        """The result with its head on the parent's tail, as one tail of its own."""
        whole = result.whole
        if isinstance(whole, Graft):
            return result
        (own, *further), examples = parts_of(whole), job.data.examples
        X = self.features(job, examples.select(range(min(len(examples), _PROVED))))
        graft = replace(
            self.tail,
            graph=stand_on(self.tail.graph, whole),
            activation=own[1],
            expected=scores(whole, X),
            further=tuple((kind, columns.stop - columns.start) for columns, kind in further),
        )
        return replace(
            result,
            tap=self.tail.tap,
            head=graft,
            answers=tuple(replace(answer, head=None) for answer in result.answers),
            warnings=(*result.warnings, *overlap(job)),
            stage=self,
        )
