"""What a model can say of its own doubts: prediction sets, and a line between the known and the unknown."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.manifest import PredictionSets, Rejection
from models.novelty import Novelty
from models.sets import members
from training.conformal import fit_sets, set_metrics
from training.deep.graft import Graft
from training.deep.parent import overlap
from training.evaluate import ENOUGH
from training.heads import activate
from training.job import Job, Result
from training.methods import Problem
from training.novelty import LEAST_OF_A_CLASS, LEAST_VALUES, Examples, fit_apart, fit_novelty


@dataclass(frozen=True, eq=False)
class Doubts:
    """Each part is None where there are too few examples for it.

    `metrics` are out of fold: `set_coverage`, `set_size`, `false_alarms`.
    """

    sets: PredictionSets | None = None
    rejection: Rejection | None = None
    novelty: Novelty | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def on(self, problem: Problem, logits: NDArray[np.float64]) -> dict[str, float]:
        """The same metrics on other examples, of the model's tap and classes, with its logits [n, C]."""
        outputs, found = activate(problem.activation, logits), dict[str, float]()
        if self.sets is not None:
            found |= set_metrics(members(outputs, self.sets.threshold), problem.y)
        if self.novelty is not None:
            alarms = self.novelty.unknown(np.asarray(problem.X, np.float32), np.asarray(outputs, np.float32))
            found["false_alarms"] = float(alarms.mean())
        return found


def assess(job: Job, result: Result) -> Doubts:
    """Of a result whose evidence is about the job's own examples, and these about what it will serve.

    With a target domain they are not, and of the answers nothing is said; what is unlike the target is told.
    """
    whole = job.sources[0].raw if len(job.data.pack) else None
    if job.spec.unlabelled_pack is not None:
        return _telling(_target_novelty(job, result), Doubts())
    if whole is None or not _about(whole, result):
        return Doubts()
    sets, metrics = _sets(result, least_examples(whole))
    enough = LEAST_VALUES if whole.task == "regression" else LEAST_OF_A_CLASS
    found = _novelty(job, result) if least_examples(whole) >= enough else None
    return _telling(found, Doubts(sets, metrics=metrics))


def _telling(found: tuple[Novelty, float] | None, doubts: Doubts) -> Doubts:
    """The doubts with a line for the unknown, where one was found."""
    if found is None:
        return doubts
    novelty, false_alarms = found
    rejection = Rejection(threshold=novelty.threshold, false_alarms=false_alarms)
    metrics = {**doubts.metrics, "false_alarms": false_alarms}
    return Doubts(doubts.sets, rejection, novelty, metrics)


def _novelty(job: Job, result: Result) -> tuple[Novelty, float] | None:
    """A tail's features of what it was trained on are not those of new inputs: they are judged out of fold.

    So are not those of a stage that has learnt from the examples before: no line can be drawn there.
    """
    if _fixed(job, result):
        return fit_novelty(_examples(job, result))
    return None if result.apart is None else fit_apart(_examples(job, result), result.apart)


def _target_novelty(job: Job, result: Result) -> tuple[Novelty, float] | None:
    """From the examples of the target, whether they have a label or not: by their distances alone."""
    data = job.data
    ours = data.pack.select(np.flatnonzero(data.in_target).tolist())
    rows = ours if data.target is None else data.target.joined(ours)
    if len(rows) < LEAST_VALUES or not _fixed(job, result):
        return None
    return fit_novelty(Examples(result.features(job, rows), seed=job.spec.seed))


def _fixed(job: Job, result: Result) -> bool:
    """Whether what the head sees of the examples is what it will see of new inputs."""
    return not overlap(job) if result.stage is not None else not isinstance(result.head, Graft)


def _sets(result: Result, least: int) -> tuple[PredictionSets | None, dict[str, float]]:
    evidence, folds = result.evidence, result.folds
    if evidence.problem.task != "classification" or least < ENOUGH["classification"]:
        return None, {}
    found = fit_sets(evidence.scores, evidence.problem.y, folds.fold[folds.tested])
    return found or (None, {})


def least_examples(problem: Problem) -> int:
    """Examples of the least class; all of them for regression."""
    if problem.task == "regression" or not len(problem):
        return len(problem)
    return int(problem.targets.sum(axis=0).min())


def _about(whole: Problem, result: Result) -> bool:
    """Whether the evidence is of these rows and classes."""
    rows, tested = len(result.folds.fold), len(result.folds.tested)
    same = rows == len(whole) and tested == len(result.evidence.logits)
    return same and tested > 0 and result.labels == whole.labels == result.evidence.problem.labels


def _examples(job: Job, result: Result) -> Examples:
    """The tested rows: all of them, where no class has a single example."""
    tested, problem = result.folds.tested, result.evidence.problem
    X = result.features(job, job.data.pack)[tested]
    if problem.task != "classification":
        return Examples(X, seed=job.spec.seed)
    return Examples(X, problem.y, result.evidence.scores, job.spec.seed)
