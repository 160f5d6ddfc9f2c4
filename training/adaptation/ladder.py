"""Whether to adapt when nobody says so: a ladder of ever bolder adaptations, climbed while it holds.

The steps: bring the means together; then the covariances; then self-training. A target that lies within the
source is left alone: its means may differ only because its classes have other proportions. Without labels
of the target its error cannot be measured, so a step must pass two checks. It may cost at most two points
of the source's cross-validated accuracy, for no adaptation should unlearn what is known. And reverse
validation must improve by two standard errors: the adapted head labels the target, a head learnt from those
labels and adapted back predicts held-out examples of the source (Zhong et al. 2010; Ganin et al. 2016,
section 5.1.3). Where the target has labels enough to be cross-validated on, they decide instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.adaptation.domains import in_target, part
from training.adaptation.guards import stands_apart
from training.folds import Folds, judged_rows
from training.methods import METHODS, Problem
from training.methods.base import Setting
from training.select import DEFAULT, Trial, challenge, try_method

_REFERENCE = "logistic"
_STEPS: tuple[tuple[str, Setting], ...] = (
    ("coral", {"moments": "mean"}),
    ("coral", {"moments": "covariance"}),
    ("self_training", {}),
)
_MOST_LOST = 0.02
_ERRORS = 2.0  # standard errors of the paired difference: at one, reviews lost 1.4 points to the source alone
_FOLDS = 3


@dataclass(frozen=True)
class Climb:
    """The trial to keep, which is the one it began with where no adaptation held, and those tried."""

    kept: Trial
    tried: tuple[Trial, ...]


def choose_adaptation(anchor: Trial, folds: Folds) -> Climb:
    """The last step of the ladder that holds against `anchor`, the best trial without adaptation.

    Only classification with an unlabelled target is adapted; anything else keeps the anchor.
    """
    raw = anchor.source.raw
    if raw.task != "classification" or raw.target is None or not folds.count:
        return Climb(anchor, ())
    if not _apart(raw):
        return Climb(anchor, ())
    source, once = replace(anchor.source, transductive=True), replace(folds, repeats=())
    strength = _strength(anchor)
    tried = tuple(try_method(source, name, {**own, **strength}, once, DEFAULT)[0] for name, own in _STEPS)
    if (judged_rows(raw) & in_target(raw)).any():
        return Climb(challenge(anchor, tried), tried)
    return Climb(_climb(anchor, tried, source.problem, once), tried)


def _apart(problem: Problem) -> bool:
    domains = part(problem)
    return stands_apart(domains.source, domains.target, problem.seed)


def _climb(anchor: Trial, steps: tuple[Trial, ...], problem: Problem, folds: Folds) -> Trial:
    kept = anchor
    setting = METHODS[_REFERENCE].info.hyperparameters().grid(problem)[0]
    before = reverse_hits(problem, folds, _REFERENCE, {**setting, **_strength(anchor)})
    for step in steps:
        if anchor.evidence.hits.mean() - step.evidence.hits.mean() > _MOST_LOST:
            continue
        after = reverse_hits(problem, folds, step.method, step.setting)
        if _improves(after - before):
            kept, before = step, after
    return kept


def _strength(trial: Trial) -> Setting:
    """Its penalty, so that a step changes nothing but the adaptation."""
    return {"C": trial.setting["C"]} if "C" in trial.setting else {}


def _improves(gain: NDArray[np.float64]) -> bool:
    return bool(gain.mean() > _ERRORS * gain.std() / np.sqrt(len(gain)))


def reverse_hits(problem: Problem, folds: Folds, method: str, setting: Setting) -> NDArray[np.float64]:
    """0 or 1 for each source row of the first folds: whether the way there and back got it right.

    The way there is fitted on the other folds' rows and labels the unlabelled target; the way back is the
    same method with the domains exchanged.
    """
    target = part(problem).unlabelled
    hits: list[NDArray[np.bool_]] = []
    for learn, predict in list(folds)[:_FOLDS]:
        rows = problem.take(learn)
        there = METHODS[method].fit(rows, [setting], rough=True)[0]
        guessed = there.head.logits(target).argmax(axis=1)
        back = replace(problem, X=target, y=guessed, target=rows.X, in_target=None)
        returned = METHODS[method].fit(back, [setting], rough=True)[0]
        hits.append(returned.head.logits(problem.X[predict]).argmax(axis=1) == problem.y[predict])
    return np.concatenate(hits).astype(np.float64)
