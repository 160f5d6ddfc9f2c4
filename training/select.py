"""`auto`: which backbone, tap, method and setting to keep. docs/auto.md tells why, with figures.

Picking whatever scored best in cross-validation loses to plain logistic regression on few examples: the
winner of many noisy comparisons is often only lucky. So one candidate is the champion from the start, and
another replaces it only when its out-of-fold loss is lower by more than three standard errors of the
paired difference, and it gets more rows right by more than one (with few examples a lower log-loss alone
is often a bolder temperature). The champions: of a method, its default setting; of the
methods, logistic regression (regression: ridge); of the backbones, any real one before a declared
baseline; of the taps, the default one of the first, which another replaces by one standard error already.

Two comparisons are fixed beforehand and so need less evidence: whether class names join the examples
(texts), and whether the pool of all heads that were tried takes the reference's place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.ensemble import pooled
from training.evaluate import Evidence, cross_validate
from training.folds import Folds
from training.members import member_key
from training.methods import METHODS
from training.methods.base import Problem, Setting
from training.portfolio import POOL, REFERENCE, large, names_speak, rivals, standard_error
from training.source import Source

AUTO = "auto"
_LOSS_ERRORS, _HIT_ERRORS = 3.0, 1.0
_NAMES_LOSS_ERRORS, _NAMES_HIT_ERRORS = 1.0, 0.0
_POOL_LOSS_ERRORS, _POOL_HIT_ERRORS = 0.5, -1.0
_TAP_LOSS_ERRORS, _TAP_HIT_ERRORS = 1.0, 0.0
EVERY, DEFAULT, OTHERS, WEAKEST = slice(None), slice(1), slice(1, None), slice(3, None)
"""Settings of a method's grid; the weakest is the last of the four penalties of logistic regression."""
_SCREENED = 4  # sources that are cross-validated where there are more
_RANKED = 600  # rows that LogME ranks taps by: its eigendecompositions would cost more than the fit
_RANKED_CLASSES = 20  # that it wants to see at least
_ENOUGH = 400  # held-out rows that tell one source from another


@dataclass(frozen=True, eq=False)
class Trial:
    """One method and setting, tried on one source."""

    source: Source
    method: str
    evidence: Evidence
    seconds: float

    @property
    def setting(self) -> Setting:
        return self.evidence.setting


@dataclass(frozen=True)
class Choice:
    """What won, and everything that was tried."""

    winner: Trial
    trials: tuple[Trial, ...]


Progress = Callable[[float, str], None]
Score = Callable[[Source], float]
"""How well a source suits its examples, greater is better, in far less time than cross-validation."""


def choose(
    sources: Sequence[Source],
    method: str,
    hyperparameters: Mapping[str, Any],
    folds: Folds,
    progress: Progress = lambda share, message: None,
    score: Score | None = None,
) -> Choice:
    """Backbone and tap first, by the reference method's default; then method and setting on them.

    `score` says which sources are cross-validated at all, where there are many; by default LogME.
    """
    reference = REFERENCE[sources[0].problem.task] if method == AUTO else method
    listed = shortlist(sources, score or _logme) if folds.count else sources
    screened = _screen(listed, reference, hyperparameters, folds, progress)
    best = _best_source(screened) if screened else None
    source = sources[0] if best is None else best.source
    rejected = tuple(trial for trial in screened if trial.source is not source)
    if method != AUTO:
        trials = try_method(source, method, hyperparameters, folds)
        return Choice(challenge(trials[0], trials[1:]), (*rejected, *trials))
    found = _among_methods(source, folds, progress, best) if folds.count else _unjudged(source)
    return Choice(found.winner, (*rejected, *found.trials))


def shortlist(sources: Sequence[Source], score: Score) -> list[Source]:
    """The first real source (the default tap), the real ones of greatest score, and all baselines."""
    real = [source for source in sources if not source.backbone.baseline]
    if len(real) <= _SCREENED:
        return list(sources)
    best = sorted(real[1:], key=score, reverse=True)[: _SCREENED - 1]
    return [s for s in sources if s.backbone.baseline or s is real[0] or any(s is other for other in best)]


def _logme(source: Source) -> float:
    from training.relatedness.logme import logme
    from training.relatedness.rank import spectrum_of  # here: rarely asked for

    return logme(spectrum_of(_thinned(source.raw)))


def _thinned(problem: Problem) -> Problem:
    """About as many rows as a ranking of taps needs.

    Of many classes some, with all their examples: fewer examples of each would favour other taps (a joined
    one needs more of them). Then of every class its share.
    """
    if len(problem) <= _RANKED:
        return problem
    if problem.task == "classification":
        problem = _some_classes(problem, max(_RANKED_CLASSES, _RANKED * len(problem.labels) // len(problem)))
        order = np.argsort(problem.y, kind="stable")
    else:
        order = np.arange(len(problem))
    return problem.take(order[:: -(-len(problem) // _RANKED)])


def _some_classes(problem: Problem, count: int) -> Problem:
    """The examples of so many classes, evenly spread over all."""
    if count >= len(problem.labels):
        return problem
    classes = np.linspace(0, len(problem.labels) - 1, count).round().astype(int)
    part = problem.take(np.flatnonzero(np.isin(problem.y, classes)))
    labels = tuple(problem.labels[place] for place in classes)
    return replace(part, y=np.searchsorted(classes, part.y), labels=labels)


def _unjudged(source: Source) -> Choice:
    """Nothing can be held out: the reference's default, with class names where they speak for themselves."""
    reference = REFERENCE[source.problem.task]
    source = replace(source, uses_names=names_speak(source))
    trial = try_method(source, reference, {}, Folds(np.full(len(source.raw), -1)), DEFAULT)[0]
    return Choice(trial, (trial,))


def _among_methods(source: Source, folds: Folds, progress: Progress, screened: Trial | None) -> Choice:
    """Class names or not, then every method of the portfolio, then the pool of them all."""
    reference = REFERENCE[source.problem.task]
    names = [reference, *rivals(source.problem)]
    if large(source.problem):
        (kept, *rejected), others = _by_heats(source, reference, folds, screened)
    else:
        same = screened if folds.part(_ENOUGH) is folds else None  # held out by other folds, else
        kept, *rejected = _with_names(source, reference, folds, same)
        others = try_method(kept.source, reference, {}, folds, OTHERS)
    tried, bests = [kept], []
    for done, name in enumerate(names):
        trials = others if name == reference else try_method(kept.source, name, {}, folds)
        tried += trials
        trials = [kept, *trials] if name == reference else trials
        bests.append(challenge(trials[0], trials[1:]))
        progress((done + 1) / len(names), f"Tried {name}.")
    pool = _pool(kept.source, tried, folds) if _may_gain(bests[0]) else []
    champion = next((trial for trial in pool if _pool_helps(trial, bests[0])), bests[0])
    return Choice(challenge(champion, bests), (*rejected, *tried, *pool))


def _by_heats(
    source: Source, reference: str, folds: Folds, screened: Trial | None
) -> tuple[list[Trial], list[Trial]]:
    """For large problems: the reference's default as `_with_names` gives it, and its weakest penalty.

    What only competes is tried on as many folds as tell one from another, and on all of them once it leads.
    """
    heat = folds.part(_ENOUGH)
    plain = screened or try_method(source, reference, {}, heat, DEFAULT)[0]
    leader, *rejected = _with_names(source, reference, heat, plain)
    kept = try_method(leader.source, reference, {}, folds, DEFAULT)[0]
    weakest = try_method(leader.source, reference, {}, heat, WEAKEST)
    if weakest and _loss(weakest[0]) < _loss(leader):
        weakest = try_method(leader.source, reference, {}, folds, WEAKEST)
        return [kept, *rejected], weakest
    return [kept, *rejected, *weakest], []


def _may_gain(trial: Trial) -> bool:
    """Whether a pool is worth trying: of classes, unless every answer is right already."""
    return trial.evidence.problem.task != "regression" and bool(trial.evidence.hits.min() < 1)


def _pool_helps(pool: Trial, champion: Trial) -> bool:
    return clearly_better(pool.evidence, champion.evidence, _POOL_LOSS_ERRORS, _POOL_HIT_ERRORS)


def _pool(source: Source, tried: Sequence[Trial], folds: Folds) -> list[Trial]:
    """The pool, from the trials of its members; none where it would be the reference alone."""
    started = time.perf_counter()
    found = {member_key(trial.method, trial.setting): trial.evidence for trial in tried}
    evidence = pooled(source.learning, found, source.widen(folds))
    seconds = time.perf_counter() - started
    return [] if evidence is None else [Trial(source, POOL, evidence, seconds)]


def try_method(
    source: Source,
    name: str,
    hyperparameters: Mapping[str, Any],
    folds: Folds,
    settings: slice = EVERY,
) -> list[Trial]:
    """A trial of each setting of the method's grid (or of a slice of it), the default first."""
    method = METHODS[name]
    grid = method.info.hyperparameters.model_validate(hyperparameters).grid(source.learning)[settings]
    started = time.perf_counter()
    found = cross_validate(method, source.learning, grid, source.widen(folds)) if grid else []
    seconds = (time.perf_counter() - started) / max(1, len(grid))
    return [Trial(source, name, evidence, seconds) for evidence in found]


def challenge(champion: Trial, challengers: Iterable[Trial]) -> Trial:
    """Of the challengers that are clearly better than the champion the one of lowest loss, or else itself."""
    better = [trial for trial in challengers if clearly_better(trial.evidence, champion.evidence)]
    return min(better, key=_loss, default=champion)


def clearly_better(
    challenger: Evidence,
    champion: Evidence,
    loss_errors: float = _LOSS_ERRORS,
    hit_errors: float = _HIT_ERRORS,
) -> bool:
    """Lower loss on the same rows, and more rows right, each by so many standard errors."""
    gain = champion.losses - challenger.losses
    if challenger.problem.task == "regression":
        return _exceeds(gain, loss_errors) or _outnumbers(gain, loss_errors)
    return _exceeds(gain, loss_errors) and _exceeds(challenger.hits - champion.hits, hit_errors)


def _outnumbers(gain: NDArray[np.float64], errors: float) -> bool:
    """Whether more rows gain than lose, by so many standard errors of a fair coin (the sign test).

    Squared errors have long tails: a champion's few worst rows make the mean gain of one that is better
    everywhere look like noise.
    """
    more = int((gain > 0).sum()) - int((gain < 0).sum())
    return bool(gain.mean() > 0 and more > errors * np.sqrt(len(gain)))


def _exceeds(gain: NDArray[np.float64], errors: float) -> bool:
    """Whether the mean of a paired difference is above so many of its standard errors.

    Where none or fewer are asked for, just as many will do.
    """
    if len(gain) < 2:
        return False
    mean, asked = gain.mean(), errors * standard_error(gain)
    return bool(mean > asked or (errors <= 0 and mean >= asked))


def _screen(
    sources: Sequence[Source],
    reference: str,
    hyperparameters: Mapping[str, Any],
    folds: Folds,
    progress: Progress,
) -> list[Trial]:
    """One trial a source; none where there is nothing to choose or nothing to judge by."""
    if len(sources) == 1 or not folds.count:
        return []
    trials = []
    for source in sources:
        trials += try_method(source, reference, hyperparameters, folds.part(_ENOUGH), DEFAULT)
        progress(0.0, f"Tried {source.backbone.id} at {source.tap}.")
    return trials


def _with_names(source: Source, reference: str, folds: Folds, plain: Trial | None = None) -> list[Trial]:
    """The reference's default, with or without class names as is better, first; then what lost to it."""
    plain = plain or try_method(source, reference, {}, folds, DEFAULT)[0]
    if source.names is None:
        return [plain]
    named = try_method(replace(source, uses_names=True), reference, {}, folds, DEFAULT)[0]
    helps = clearly_better(named.evidence, plain.evidence, _NAMES_LOSS_ERRORS, _NAMES_HIT_ERRORS)
    return [named, plain] if helps else [plain, named]


def _best_source(screened: Sequence[Trial]) -> Trial:
    """The first real source, the default tap, unless another is better by more than its noise."""
    real = [trial for trial in screened if not trial.source.backbone.baseline]
    best = min(real or screened, key=_loss)
    if real and not clearly_better(best.evidence, real[0].evidence, _TAP_LOSS_ERRORS, _TAP_HIT_ERRORS):
        best = real[0]
    return challenge(best, (trial for trial in screened if trial.source.backbone.baseline))


def _loss(trial: Trial) -> float:
    return np.inf if trial.evidence.loss is None else trial.evidence.loss
