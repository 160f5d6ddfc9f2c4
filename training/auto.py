"""`auto` as a whole: heads first, then a smaller backbone, adaptation, deeper training. See docs/auto.md.

Each later step may only replace what stands if its own rule, with evidence on the same rows, says so.
"""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec

from pydantic import Field

from models.errors import JobFailed
from training import reporting
from training.adaptation.ladder import choose_adaptation
from training.folds import Folds
from training.job import Job, Result
from training.methods import PROCEDURES
from training.methods.base import Hyperparameters, Problem, Setting
from training.portfolio import deep_methods, worth_replacing
from training.select import AUTO, DEFAULT, Choice, Progress, Trial, choose, try_method
from training.source import Source
from training.variants_rule import apart, loses_nothing, stand_ins


class AutoHyperparameters(Hyperparameters):
    time_budget_s: float = Field(
        default=30.0,
        gt=0,
        le=86_400,
        description="for methods that train below the top; what runs on cached features ignores it",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: it is the choice itself."""
        return [{}]


def choose_heads(job: Job, sources: list[Source], folds: Folds, progress: Progress) -> Choice:
    """The best head on cached features: of the originals, then of their variants, then adapted."""
    originals, variants = apart(sources)
    choice = choose(originals, AUTO, {}, folds, progress)
    choice = _smaller(choice, variants, folds)
    if job.spec.unlabelled_pack is None:
        return choice
    climb = choose_adaptation(choice.winner, folds)
    return Choice(climb.kept, (*choice.trials, *climb.tried))


def _smaller(choice: Choice, variants: list[Source], folds: Folds) -> Choice:
    """The winner's method and setting on a variant of its backbone, where that loses nothing."""
    winner, tried = choice.winner, choice.trials
    for source in stand_ins(winner.source, variants):
        (trial,) = try_method(source, winner.method, _given(winner), folds, DEFAULT)
        tried = (*tried, trial)
        if loses_nothing(trial.evidence, winner.evidence):
            return Choice(trial, tried)
    return Choice(winner, tried)


def _given(trial: Trial) -> Setting:
    """The trial's setting as hyperparameters: what has none was chosen inside the fit."""
    return {key: value for key, value in trial.setting.items() if value is not None}


def deepen(job: Job, cheap: Result, started: float) -> Result:
    """What training below the top gives, where there is data and time for it and it is clearly better.

    `started` is when the job's choosing began (`time.monotonic`).
    """
    given = AutoHyperparameters.model_validate(job.spec.hyperparameters)
    left = given.time_budget_s - (time.monotonic() - started)
    names = deep_methods(job.sources[0].raw, job.spec.modality, cheap.evidence, left)
    names = [name for name in names if name in PROCEDURES]
    if not names or find_spec("torch") is None or job.spec.unlabelled_pack is not None:
        return cheap
    best = cheap
    for name in names:
        found = _train(job, name, left / len(names))
        if found is not None:
            best = _better(job, best, *found)
    return best


def _train(job: Job, name: str, seconds: float) -> tuple[Result, float] | None:
    """The method's result within so many seconds, and how long it took; None where it failed."""
    begun = time.monotonic()
    job.phases.say(f"There is data and time for {name}: training it for at most {seconds:.0f} s.")
    try:
        result = PROCEDURES[name].run(job.with_method(name, {"time_budget_s": seconds}))
    except JobFailed as error:
        job.phases.say(f"{name} failed and is left out: {error.message}", code=error.code)
        return None
    return result, time.monotonic() - begun


def _better(job: Job, best: Result, challenger: Result, seconds: float) -> Result:
    """The challenger if it is worth its price, with both in the table of candidates."""
    wins = worth_replacing(challenger.evidence, best.evidence)
    source = next(s for s in job.sources if s.backbone.digest == challenger.backbone.digest)
    trial = Trial(source, challenger.method, challenger.evidence, seconds)
    line = reporting.candidate(trial, challenger.folds, challenger.setting if wins else None)
    if not wins:
        return replace(best, candidates=(*best.candidates, line))
    before = tuple(c.model_copy(update={"chosen": False}) for c in best.candidates)
    return replace(challenger, candidates=(*before, line))
