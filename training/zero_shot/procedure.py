"""What zero-shot methods share: seen classes with examples, class vectors, answers with unseen classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from models.errors import JobFailed
from models.report import Baseline
from training.evaluate import Evidence
from training.heads import AffineHead, Head
from training.methods.base import Hyperparameters, MethodInfo, Problem, Setting
from training.zero_shot.classes import Classes, from_names, from_table
from training.zero_shot.heads import SimilarityHead
from training.zero_shot.held_out import estimate_unseen, leave_classes_out

if TYPE_CHECKING:
    from training.job import Job, Result
    from training.source import Source

Array = NDArray[np.float64]
Row = dict[str, Annotated[float, Field(ge=-1e6, le=1e6)]]
ClassTable = Annotated[
    dict[str, Row],
    Field(
        min_length=2,
        json_schema_extra={"format": "class-table"},
        description="class -> attribute -> value, for seen and unseen classes, each with the same attributes",
    ),
]
ClassNames = Annotated[list[str], Field(min_length=1, max_length=5000)]


class ZeroShotHyperparameters(Hyperparameters):
    """Class vectors are the rows of a table, or else the embedded names of the classes."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["attributes"]}, {"required": ["classes"]}]}
    )
    attributes: ClassTable | None = None
    classes: ClassNames | None = Field(
        default=None, description="without a table: the unseen classes, whose names are embedded as text"
    )
    answers: Literal["unseen", "all"] = Field(
        default="unseen", description="choose among the unseen classes, or among all (generalised)"
    )
    stacking: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="generalised: taken off the logits of seen classes (calibrated stacking, Chao 2016)",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: what classes are like leaves nothing to choose."""
        kind = "names" if self.attributes is None else "attributes"
        return [{"class_vectors": kind, "answers": self.answers, "stacking": self.stacking}]


Fit = Callable[[Problem, Array, Array, Any], Head]
"""(examples of the seen classes, their vectors [S, A], the answers' vectors [K, A], settings) -> head."""


@dataclass(frozen=True)
class ZeroShot:
    """A method by its record and the function that fits it."""

    info: MethodInfo
    fit: Fit

    def run(self, job: Job) -> Result:
        """The best tap by leaving seen classes out, then a head over the answers asked for."""
        from training.job import Result  # it imports the methods, and so this module

        given = self.info.hyperparameters.model_validate(job.spec.hyperparameters)
        if not isinstance(given, ZeroShotHyperparameters):
            raise TypeError(f"{self.info.name} takes other settings.")
        classes = _classes(job, given)
        seen = classes.take(job.data.names)
        asked = len(classes) - len(seen)
        answers = classes.without(seen.names) if given.answers == "unseen" else classes
        source, evidence = self._best(job, seen, asked, given)
        head = self.fit(source.problem, seen.vectors, answers.vectors, given).scaled(evidence.factor)
        penalty = np.where(np.isin(answers.names, seen.names), given.stacking, 0.0)
        return Result(
            method=self.info.name,
            setting={**evidence.setting, "temperature": 1 / evidence.factor},
            backbone=source.backbone,
            tap=source.tap,
            head=_lowered(head, penalty).lifted(source.frame),
            labels=answers.names,
            evidence=evidence,
            folds=job.folds,
            estimate=estimate_unseen(evidence, asked),
            baselines=_chance(evidence, asked),
        )

    def _best(
        self, job: Job, seen: Classes, asked: int, given: ZeroShotHyperparameters
    ) -> tuple[Source, Evidence]:
        """Of the real backbones' taps, the one of lowest loss on left-out classes."""
        real = [source for source in job.sources if not source.backbone.baseline] or job.sources
        tried = [(source, self._evidence(source.problem, seen, asked, given)) for source in real]
        return min(tried, key=lambda pair: np.inf if pair[1].loss is None else pair[1].loss)

    def _evidence(
        self, problem: Problem, seen: Classes, asked: int, given: ZeroShotHyperparameters
    ) -> Evidence:
        def fit(part: Problem, group: NDArray[np.int64]) -> Head:
            rest, y = np.unique(part.y, return_inverse=True)
            inside = replace(part, y=y, labels=tuple(part.labels[c] for c in rest))
            return self.fit(inside, seen.vectors[rest], seen.vectors[group], given)

        return leave_classes_out(problem, asked, fit, given.grid(problem)[0])


def _classes(job: Job, given: ZeroShotHyperparameters) -> Classes:
    """Every class, seen and unseen. Raises JobFailed (`class_table`, `no_unseen_class`)."""
    seen = job.data.names
    if given.attributes is not None:
        found = from_table(given.attributes)
        if missing := set(seen) - set(found.names):
            message = f"The attribute table has no row for {len(missing)} classes of the examples."
            raise JobFailed(message, code="class_table")
    else:
        found = from_names(job, [*seen, *(given.classes or ())])
    if len(found) == len(seen):
        raise JobFailed(
            "Every class has examples, so none is unseen: name the new ones.", code="no_unseen_class"
        )
    return found


def _lowered(head: Head, penalty: Array) -> Head:
    """The head with its logits lowered by `penalty` [K]."""
    if isinstance(head, AffineHead):
        return replace(head, bias=head.bias - penalty)
    if isinstance(head, SimilarityHead):
        return replace(head, shift=head.shift - penalty / head.factor)
    raise TypeError("a head of a kind that cannot be shifted")


def _chance(evidence: Evidence, asked: int) -> tuple[Baseline, ...]:
    if not len(evidence.logits):
        return ()
    share = 1 / max(2, asked)
    return (Baseline(name="guessing among the unseen classes", metric="accuracy", value=share),)
