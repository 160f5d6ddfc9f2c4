"""The rules of `auto` that need no fitting: who stands for election, and when more is worth trying.

docs/auto.md gives the evidence for each rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from models.base import ModalityName, TaskName
from training.evaluate import Evidence
from training.methods.base import Problem
from training.source import Source

REFERENCE: dict[TaskName, str] = {
    "classification": "logistic",
    "multilabel": "logistic",
    "regression": "ridge",
}
POOL = "pool"
_OTHERS: dict[TaskName, tuple[str, ...]] = {
    "classification": ("knn", "krr", "lda", "prototypes", "ridge"),
    "multilabel": ("knn", "krr", "ridge"),
    "regression": ("gp", "knn", "krr"),
}
_COSTLY = ("gp", "knn", "krr", "ridge")
_MANY_CLASSES, _MANY_ROWS = 50, 1500
_CHANCE, _TIMES_CHANCE = 0.001, 3.0

_LEAST_GAIN, _GAIN_ERRORS = 0.01, 1.0


def large(problem: Problem) -> bool:
    """Whether so many classes or examples make every further candidate cost seconds."""
    return problem.targets.shape[1] > _MANY_CLASSES or len(problem) > _MANY_ROWS


def rivals(problem: Problem) -> list[str]:
    """The methods that `auto` tries beside the reference.

    With many classes or examples the time goes to what has been seen to win there: linear heads.
    """
    return [name for name in _OTHERS[problem.task] if not large(problem) or name not in _COSTLY]


def names_speak(source: Source) -> bool:
    """Whether class names are evidence where nothing can be held out.

    Each example is given to the class whose embedded name is nearest, after both were centred. Names
    that say what the classes are do far better than chance at it: at least three times as well, and so
    often that chance would have to be very lucky (binomial tail below 0.1 %).
    """
    if source.names is None or not len(source.raw):
        return False
    classes = len(source.raw.labels)
    hits = int((zero_shot(source) == source.raw.y).sum())
    lucky = float(bdtrc(hits - 1, len(source.raw), 1 / classes)) if hits else 1.0
    return lucky < _CHANCE and hits / len(source.raw) >= _TIMES_CHANCE / classes


def zero_shot(source: Source) -> NDArray[np.int64]:
    """The class [n] whose name is nearest by cosine to each example."""
    X, names = (np.asarray(rows, np.float64) for rows in (source.raw.X, source.names))
    X, names = X - X.mean(axis=0), names - names.mean(axis=0)
    names /= np.maximum(np.linalg.norm(names, axis=1, keepdims=True), 1e-12)
    return np.asarray((X @ names.T).argmax(axis=1))


_LEAST_TEXTS = 400  # examples; below, training was never seen to win
_START = 5.0  # seconds until torch is loaded and the examples are through the trunk
_PASSES, _TRAININGS = 3, 4  # below three passes nothing is learnt; three folds and the model itself
_STEP_SECONDS = 0.008
"""Forward and backward of one text through the last block, on one core (MiniLM 0.27 s for 32)."""


def deep_methods(
    problem: Problem, modality: ModalityName, evidence: Evidence, time_budget_s: float
) -> list[str]:
    """Methods that train a network and are worth trying after the cheap ones, the likeliest first.

    Only where they have been seen to win: texts, from 400 examples and eight a class on, and below 2,000
    only while more than a tenth of the answers are wrong. A budget that does not buy three passes over the
    examples in every training is left unspent.
    """
    n = len(problem)
    needed = _START + _PASSES * _TRAININGS * n * _STEP_SECONDS
    if modality != "text" or n < _LEAST_TEXTS or time_budget_s < needed:
        return []
    poor = evidence.value is not None and evidence.value < 0.9
    return ["finetune"] if n >= 2000 or (_least(problem) >= 8 and poor) else []


def worth_replacing(challenger: Evidence, champion: Evidence) -> bool:
    """Whether a costlier model is better by a point and by a standard error on the same rows.

    A point is one hundredth of accuracy or micro F1, and of the champion's error for regression.
    """
    if challenger.problem.task == "regression":
        gain = champion.losses - challenger.losses
        least = 2 * _LEAST_GAIN * float(champion.losses.mean())  # losses are squared errors
    else:
        gain, least = challenger.hits - champion.hits, _LEAST_GAIN
    return len(gain) > 1 and bool(gain.mean() >= max(least, _GAIN_ERRORS * standard_error(gain)))


def standard_error(gain: NDArray[np.float64]) -> float:
    """Of the mean of a paired difference [m]."""
    return float(gain.std(ddof=1) / np.sqrt(len(gain)))


def _least(problem: Problem) -> int:
    """Examples of the least class or label; of all for regression."""
    if problem.task == "regression":
        return len(problem)
    return int(problem.targets.sum(axis=0).min())
