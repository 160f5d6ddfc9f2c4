"""Jobs whose method fits heads on cached features: choose by cross-validation, then fit on every example."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

from training import reporting
from training.adaptation.report import describe
from training.auto import choose_heads
from training.deep.parent import overlap
from training.job import Job, Result
from training.methods import METHODS, find
from training.methods.base import Setting
from training.select import AUTO, Choice, Trial, choose
from training.source import Source
from training.stage import PARENT, Stage

_TARGET = {"unlabelled", "target_labels"}


@runtime_checkable
class Finishes(Protocol):
    """A method that has more to say once it knows its out-of-fold predictions."""

    def finish(self, result: Result) -> Result:
        """The result with further answers, metrics or warnings."""
        ...


def run(job: Job) -> tuple[Result, Choice]:
    """The best of what the spec allows, and everything that was tried."""
    stage = Stage.of(job)
    sources = _sources(job, stage)
    with job.phases.phase("select", f"Cross-validating on {len(job.data.pack)} examples."):
        if job.spec.method == AUTO:
            choice = choose_heads(job, sources, job.folds, job.phases.progress)
        else:
            given = job.spec.hyperparameters
            choice = choose(sources, job.spec.method, given, job.folds, job.phases.progress)
    with job.phases.phase("fit", f"Fitting {choice.winner.method} on every example."):
        method, result = METHODS[choice.winner.method], _fit(job, choice)
        result = method.finish(result) if isinstance(method, Finishes) else result
        staged = stage is not None and choice.winner.source.tap == PARENT
        return stage.joined(job, result) if stage is not None and staged else result, choice


def _sources(job: Job, stage: Stage | None) -> list[Source]:
    """Where heads are fitted; a method that sees the target gets a frame that holds it."""
    info = find(job.spec.method)
    transductive = info is not None and not _TARGET.isdisjoint(info.needs)
    found = job.sources if stage is None else _after(job, stage)
    return [replace(source, transductive=True) for source in found] if transductive else found


def _after(job: Job, stage: Stage) -> list[Source]:
    """On what the parent's tail gives; `auto` compares that with the backbone as it is.

    It cannot where the parent has learnt from the examples: it would win on what it remembers.
    """
    if job.spec.method != AUTO:
        return [stage.source(job)]
    return job.sources if overlap(job) else [stage.source(job), *job.sources]


def _fit(job: Job, choice: Choice) -> Result:
    """The chosen setting on all rows, with the temperature that its out-of-fold predictions asked for."""
    trial = choice.winner
    fitted = METHODS[trial.method].fit(trial.source.learning, [trial.setting])[0]
    head = fitted.head.scaled(trial.evidence.factor).lifted(trial.source.frame)
    setting = {**fitted.setting, **_found(trial)}
    return Result(
        method=trial.method,
        setting=setting,
        backbone=trial.source.backbone,
        tap=trial.source.tap,
        head=head,
        labels=job.data.names,
        evidence=trial.evidence,
        folds=job.folds,
        candidates=tuple(
            reporting.candidate(t, job.folds, setting if t is trial else None) for t in choice.trials
        ),
        adaptation=describe(trial.source, fitted.alignment),
    )


def _found(trial: Trial) -> Setting:
    """What was found besides the method's own settings."""
    found: Setting = {}
    if trial.evidence.problem.activation != "identity":
        found["temperature"] = 1 / trial.evidence.factor
    if trial.source.uses_names:
        found["label_names"] = True
    return found
