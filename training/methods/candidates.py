"""Candidate selection: train a population on the source, keep those that suit a few real examples best.

Members differ in what a simulation gets wrong: each learns from its own resampling of the source (Breiman
1996), moved by a bias of its own, with noise of its own (Bishop 1995: training with noise is
regularisation) and its own penalty. Where the features are the signals themselves, bias and noise are those
of an instrument: a shift of the axis, broadening, gain, drift. The real examples, labelled rows of
`unlabelled_file`, are not learnt from but rank the members: the mean of the best is the model, and it is
one affine head, for a mean of affine heads is affine. How many are kept, and how good that is, comes from
leaving each real example out of the ranking.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.report import Baseline, Candidate
from training.calibrate import losses
from training.evaluate import METRIC, Evidence
from training.folds import Folds
from training.heads import AffineHead, Scores
from training.job import Job, Result
from training.methods.base import Auto, Hyperparameters, MethodInfo, Problem, Setting, register_procedure
from training.signals import few
from training.signals.affine import fit_affine, mean_head
from training.signals.augment import Strengths, augment, fitted_to
from training.signals.calibrate import Instrument
from training.signals.raw import RAW, TAP
from training.source import Source

Array = NDArray[np.float64]
_KEPT = (5, 1, 3, 10, 20)  # the first is the default
_ROWS = 400  # of the source, that one member learns from
_PENALTIES = (1.0, 10.0, 100.0)
_TOWARDS = (0.0, 0.5, 1.0)  # the share of the way from the source's mean to the real one's
_NOISES = (0.0, 0.1, 0.3)  # of the features' root mean square deviation
_AMOUNTS = np.array([0.02, 0.2, 0.1])  # of a member's shift, logarithm of gain, and offset in deviations
_BROADENING, _DRIFT = 0.02, 0.02


class CandidatesHyperparameters(Hyperparameters):
    members: int = Field(default=40, ge=2, le=500, description="how many are trained")
    keep: Auto | int = Field(
        default="auto", ge=1, le=500, description="how many of them make the model; auto: by leaving out"
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved by the procedure itself."""
        return [self.model_dump()]


class Candidates:
    info = MethodInfo(
        name="candidates",
        title="The best of a population, by a few real examples",
        tasks=("classification", "regression", "multilabel"),
        setting="few-shot",
        source="Bagging, Breiman 1996; training with noise, Bishop 1995; selection by leave-one-out",
        hyperparameters=CandidatesHyperparameters,
        needs=("target_labels",),
    )

    def run(self, job: Job) -> Result:
        given = CandidatesHyperparameters.model_validate(job.spec.hyperparameters)
        real = few.real_rows(job)
        source, folds = few.source_rows(real, job.spec.seed), few.real_folds(real, job.spec.seed)
        view, plain = _best_view(job, source, real)
        members = _population(job, view, source, real, given.members)
        answers = np.stack([member.logits(view.raw.X) for member in members])
        trials = [_trial(view.raw, folds, answers, kept) for kept in _sizes(given)]
        best = _chosen(trials)
        ranking = _ranking(view.raw, answers, real)
        head = mean_head([members[i] for i in ranking[: best.kept]])
        setting: Setting = {"members": given.members, "keep": best.kept}
        return Result(
            method=self.info.name,
            setting=setting,
            backbone=view.backbone,
            tap=view.tap,
            head=head.scaled(best.evidence.factor),
            labels=job.data.names,
            evidence=best.evidence,
            folds=folds,
            candidates=tuple(_candidate(trial, view, setting if trial is best else None) for trial in trials),
            estimate=few.real_estimate(best.evidence, folds),
            baselines=_baselines(view, folds, plain, best.evidence),
        )


def _sizes(given: CandidatesHyperparameters) -> list[int]:
    sizes = _KEPT if given.keep == "auto" else (given.keep,)
    return list(dict.fromkeys(min(size, given.members) for size in sizes))


def _best_view(job: Job, source: NDArray[np.int64], real: NDArray[np.bool_]) -> tuple[Source, AffineHead]:
    """The tap at which a plain head of the source errs least on the real rows, and that head."""
    found = []
    for view in few.views(job):
        head = fit_affine(view.raw.take(source))
        rest = view.raw.take(real)
        doubt = float(losses(rest.activation, head.logits(rest.X), rest.targets).mean())
        found.append((doubt, view, head))
    _, view, head = min(found, key=lambda one: one[0])
    return view, head


def _population(
    job: Job, view: Source, source: NDArray[np.int64], real: NDArray[np.bool_], members: int
) -> list[AffineHead]:
    """`members` heads on raw features, none of which learns from a real row."""
    problem = view.raw.take(source)
    seen = view.raw.X[real]
    if view.raw.target is not None:
        seen = np.concatenate([seen, view.raw.target])
    heads = []
    for number in range(members):
        rng = np.random.default_rng([job.spec.seed, number])
        heads.append(_member(problem, seen, rng, measured=(view.backbone.id, view.tap) == (RAW, TAP)))
        job.phases.progress((number + 1) / (members + 1), f"Trained {number + 1} of {members} candidates.")
    return heads


def _member(
    problem: Problem, seen: NDArray[np.float32], rng: np.random.Generator, *, measured: bool
) -> AffineHead:
    """One head; `seen` are features of real examples, `measured` says that features are signals."""
    rows = _resampled(problem, rng)
    drawn = problem.take(rows)
    x, everything = np.asarray(drawn.X, np.float64), np.asarray(problem.X, np.float64)
    X = _measured(x, seen, rng) if measured else _biased(x, everything, seen, rng)
    return fit_affine(replace(drawn, X=X.astype(np.float32)), C=float(rng.choice(_PENALTIES)))


def _resampled(problem: Problem, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows drawn with replacement, and one of each class besides, so that no class is lost."""
    rows = rng.integers(0, len(problem), min(len(problem), _ROWS))
    if problem.task == "regression":
        return rows
    shuffled = rng.permutation(len(problem))
    firsts = problem.targets[shuffled].argmax(axis=0)
    return np.concatenate([shuffled[firsts], rows])


def _measured(x: Array, seen: NDArray[np.float32], rng: np.random.Generator) -> Array:
    """Signals through an instrument that is this member's own, with the noise of the real ones."""
    size = float(x.std())
    shift, gain, offset = _AMOUNTS * rng.standard_normal(3)
    instrument = Instrument(shift, _BROADENING * rng.random(), np.exp(gain), offset * size)
    through = instrument.apply(x)
    strengths = fitted_to(Strengths(drift=_DRIFT * size), through, seen.astype(np.float64))
    return augment(through, strengths, rng)


def _biased(X: Array, source: Array, seen: NDArray[np.float32], rng: np.random.Generator) -> Array:
    """Features moved some of the way towards the real ones, with noise of one size in every direction."""
    towards = rng.choice(_TOWARDS) * (seen.mean(axis=0) - source.mean(axis=0))
    spread = float(np.sqrt(((source - source.mean(axis=0)) ** 2).mean()))
    noise = float(rng.choice(_NOISES)) * spread
    return np.asarray(X + towards + noise * rng.standard_normal(X.shape))


def _ranking(problem: Problem, answers: Scores, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Members by their mean loss on the rows of a mask, best first; `answers` [members, n, C]."""
    targets = problem.targets[rows]
    doubts = [float(losses(problem.activation, found[rows], targets).mean()) for found in answers]
    return np.argsort(doubts, kind="stable")


@dataclass(frozen=True, eq=False)
class _Trial:
    """So many members kept, and what their mean says of rows that had no part in ranking them."""

    kept: int
    evidence: Evidence
    seconds: float


def _trial(problem: Problem, folds: Folds, answers: Scores, kept: int) -> _Trial:
    started = time.perf_counter()
    logits = np.zeros(answers.shape[1:])
    for _, predict in folds:
        ranking = _ranking(problem, answers, (folds.fold >= 0) & ~predict)
        logits[predict] = answers[ranking[:kept]][:, predict].mean(axis=0)
    found = few.evidence({"keep": kept}, problem, folds, logits)
    return _Trial(kept, found, time.perf_counter() - started)


def _chosen(trials: Sequence[_Trial]) -> _Trial:
    """The default, unless another number is better by its standard error."""
    rivals = [t for t in trials[1:] if few.better(t.evidence, trials[0].evidence)]
    return min(rivals, key=lambda trial: float(trial.evidence.losses.mean()), default=trials[0])


def _candidate(trial: _Trial, view: Source, chosen: Setting | None) -> Candidate:
    return Candidate(
        backbone=view.backbone.id,
        tap=view.tap,
        method=Candidates.info.name,
        params=chosen or {"keep": trial.kept},
        metric=METRIC[view.raw.task],
        value=trial.evidence.value,
        loss=trial.evidence.loss,
        low=None,
        high=None,
        seconds=trial.seconds,
        chosen=chosen is not None,
    )


def _baselines(view: Source, folds: Folds, plain: AffineHead, best: Evidence) -> tuple[Baseline, ...]:
    """One head on the source as it is, on the same rows; and the mean of the other real examples."""
    found = few.evidence({}, view.raw, folds, plain.logits(view.raw.X))
    if found.value is None:
        return ()
    single = Baseline(name="one head on the source as it is", metric=METRIC[view.raw.task], value=found.value)
    return (single, *few.mean_baseline(best))


register_procedure(Candidates())
