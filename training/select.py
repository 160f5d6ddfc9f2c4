"""`auto`: which backbone, tap, method and setting to keep.

Picking whatever scored best in cross-validation loses to plain logistic regression on few examples: the
winner of many noisy comparisons is often only lucky. So one candidate is the champion from the start, and
another replaces it only when its out-of-fold loss is lower by more than two standard errors of the
paired difference, and it gets more rows right by more than one (with few examples a lower log-loss alone
is often a bolder temperature). The champions: of a method, its default setting; of the
methods, logistic regression (regression: ridge); of the backbones, any real one before a declared
baseline. Among real backbones and their taps the lowest loss of the champion's method wins.

Text has a second witness: a class's name, embedded, is one more example of it. That is worth much where
names mean something (150 intents, 5 examples each: 87.4 -> 88.5 %) and costs where they do not, so it is
compared too; being one comparison fixed beforehand, it needs one standard error of the loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import TaskName
from training.evaluate import Evidence, cross_validate
from training.folds import Folds
from training.methods import METHODS
from training.methods.base import Setting
from training.source import Source

AUTO = "auto"
REFERENCE: dict[TaskName, str] = {
    "classification": "logistic",
    "multilabel": "logistic",
    "regression": "ridge",
}
_LOSS_ERRORS, _HIT_ERRORS = 2.0, 1.0
_NAMES_LOSS_ERRORS, _NAMES_HIT_ERRORS = 1.0, 0.0
EVERY, DEFAULT, OTHERS = slice(None), slice(1), slice(1, None)
"""Settings of a method's grid."""


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


def choose(
    sources: Sequence[Source],
    method: str,
    hyperparameters: Mapping[str, Any],
    folds: Folds,
    progress: Progress = lambda share, message: None,
) -> Choice:
    """Backbone and tap first, by the reference method's default; then method and setting on them."""
    task = sources[0].problem.task
    reference = REFERENCE[task] if method == AUTO else method
    others = [name for name in candidates(task) if name != reference] if method == AUTO else []
    screened = _screen(sources, reference, hyperparameters, folds, progress)
    source = _best_source(screened).source if screened else sources[0]
    bests, tried = [], [t for t in screened if t.source is not source]
    known: list[Trial] = []
    if method == AUTO and folds.count and source.names is not None:
        known, rejected = _with_names(source, reference, folds)
        source, tried = known[0].source, [*tried, rejected]
    for done, name in enumerate([reference, *others]):
        given = hyperparameters if name == method else {}
        trials = known + try_method(source, name, given, folds, OTHERS if known else EVERY)
        known = []
        tried += trials
        bests.append(challenge(trials[0], trials[1:]))
        progress((done + 1) / (len(others) + 1), f"Tried {name}.")
    return Choice(challenge(bests[0], bests[1:]), tuple(tried))


def candidates(task: TaskName) -> list[str]:
    """Methods that serve the task, by name."""
    known = ((name, method.info) for name, method in METHODS.items())
    return sorted(name for name, info in known if task in info.tasks and not info.needs)


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
    return _exceeds(champion.losses - challenger.losses, loss_errors) and (
        challenger.problem.task == "regression" or _exceeds(challenger.hits - champion.hits, hit_errors)
    )


def _exceeds(gain: NDArray[np.float64], errors: float) -> bool:
    """Whether the mean of a paired difference is above so many of its standard errors."""
    if len(gain) < 2:
        return False
    return bool(gain.mean() > errors * gain.std(ddof=1) / np.sqrt(len(gain)))


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
        trials += try_method(source, reference, hyperparameters, folds, DEFAULT)
        progress(0.0, f"Tried {source.backbone.id} at {source.tap}.")
    return trials


def _with_names(source: Source, reference: str, folds: Folds) -> tuple[list[Trial], Trial]:
    """The reference's default with or without class names, whichever it is to be; and the one that lost."""
    named = replace(source, uses_names=True)
    without, with_names = (try_method(s, reference, {}, folds, DEFAULT)[0] for s in (source, named))
    helps = clearly_better(with_names.evidence, without.evidence, _NAMES_LOSS_ERRORS, _NAMES_HIT_ERRORS)
    return ([with_names], without) if helps else ([without], with_names)


def _best_source(screened: Sequence[Trial]) -> Trial:
    real = [trial for trial in screened if not trial.source.backbone.baseline]
    best = min(real or screened, key=_loss)
    return challenge(best, (trial for trial in screened if trial.source.backbone.baseline))


def _loss(trial: Trial) -> float:
    return np.inf if trial.evidence.loss is None else trial.evidence.loss
