"""From evidence to the parts of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.report import Baseline, Calibration, CalibrationBin, Candidate, ClassReport, Confusion
from training import metrics
from training.evaluate import METRIC, Evidence, estimate
from training.folds import Folds
from training.methods.base import Problem, Setting
from training.select import Trial

_MOST_CLASSES = 50  # in a confusion matrix that a person can read
_PAIRS = 20
_BINS = 10


def class_reports(problem: Problem, evidence: Evidence) -> tuple[ClassReport, ...]:
    """Precision and recall of each class; none for regression or where nothing was tested."""
    if problem.task == "regression" or not len(evidence.logits):
        return ()
    actual, predicted = marks(evidence)
    hits, claimed, there = (m.sum(axis=0) for m in (actual & predicted, predicted, actual))
    precision, recall = metrics.ratio(hits, claimed), metrics.ratio(hits, there)
    f1 = np.where(there > 0, metrics.f1_scores(hits, claimed, there), np.nan)
    return tuple(
        ClassReport(
            label=label,
            examples=int(problem.targets[:, c].sum()),
            support=int(there[c]),
            precision=_number(precision[c]),
            recall=_number(recall[c]),
            f1=_number(f1[c]),
        )
        for c, label in enumerate(problem.labels)
    )


def marks(evidence: Evidence) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which classes each tested row has, and which it was given: two [m, C] masks."""
    actual = evidence.problem.targets > 0.5
    if evidence.problem.task == "multilabel":
        return actual, evidence.scores > 0.5
    predicted = np.zeros_like(actual)
    predicted[np.arange(len(predicted)), evidence.logits.argmax(axis=1)] = True
    return actual, predicted


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def confusion(evidence: Evidence) -> Confusion | None:
    """The matrix, or the worst pairs of many classes; None where the task has none."""
    problem = evidence.problem
    if problem.task != "classification" or not len(evidence.logits):
        return None
    labels = problem.labels
    counts = metrics.confusion(problem.y, evidence.logits.argmax(axis=1), len(labels))
    if len(labels) <= _MOST_CLASSES:
        return Confusion(labels=labels, matrix=tuple(map(tuple, counts.tolist())))
    np.fill_diagonal(counts, 0)
    worst = np.argsort(-counts, axis=None, kind="stable")[:_PAIRS]
    cells = [(int(i) // len(labels), int(i) % len(labels)) for i in worst]
    pairs = tuple((labels[t], labels[p], int(counts[t, p])) for t, p in cells if counts[t, p])
    return Confusion(labels=labels, pairs=pairs)


def calibration(evidence: Evidence) -> Calibration | None:
    """Reliability of the top class's probability (multilabel: of every label's); None for regression."""
    problem = evidence.problem
    if problem.task == "regression" or not len(evidence.logits):
        return None
    if problem.task == "classification":
        confidence = evidence.scores.max(axis=1)
        correct = evidence.logits.argmax(axis=1) == problem.y
    else:
        confidence, correct = evidence.scores.ravel(), problem.targets.ravel() > 0.5
    table = metrics.reliability(confidence, correct, _BINS)
    return Calibration(
        ece=metrics.calibration_error(table),
        log_loss=evidence.metrics["log_loss"],
        temperature=1 / evidence.factor,
        bins=tuple(
            CalibrationBin(low=b / _BINS, high=(b + 1) / _BINS, count=n, confidence=c, accuracy=a)
            for b, n, c, a in table
        ),
    )


def guess_baseline(problem: Problem) -> Baseline:
    """What knowing only the labels gives: the majority class, each label's majority, or the mean."""
    metric = METRIC[problem.task]
    if problem.task == "classification":
        share = float(problem.targets.mean(axis=0).max())
        return Baseline(name="majority class", metric=metric, value=share)
    mean = np.broadcast_to(problem.targets.mean(axis=0), problem.targets.shape)
    if problem.task == "multilabel":
        found = metrics.multilabel_metrics(problem.targets, mean)
        return Baseline(name="each label's majority", metric=metric, value=found[metric])
    held_out = len(problem) / (len(problem) - 1)  # the mean without the row errs by this much more
    error = metrics.regression_metrics(problem.targets, mean)[metric] * held_out
    return Baseline(name="mean of the training values", metric=metric, value=error)


def trial_baseline(trial: Trial) -> tuple[Baseline, ...]:
    """A trial as a baseline; nothing where nothing was tested."""
    evidence, source = trial.evidence, trial.source
    if evidence.value is None:
        return ()
    name = f"{trial.method} on {source.backbone.id} at {source.tap}"
    return (Baseline(name=name, metric=METRIC[source.problem.task], value=evidence.value),)


def candidate(trial: Trial, folds: Folds, chosen: Setting | None) -> Candidate:
    """A line of the table of what was tried; `chosen` is the winner's setting, every auto resolved."""
    evidence, task = trial.evidence, trial.source.problem.task
    interval = estimate(evidence, folds, len(evidence.logits)) if task == "classification" else None
    return Candidate(
        backbone=trial.source.backbone.id,
        tap=trial.source.tap,
        method=trial.method,
        params=chosen or {**trial.setting, **({"label_names": True} if trial.source.uses_names else {})},
        metric=METRIC[task],
        value=evidence.value,
        loss=evidence.loss,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        seconds=trial.seconds,
        chosen=chosen is not None,
    )


def warnings(problem: Problem, evidence: Evidence, baselines: Sequence[Baseline]) -> tuple[str, ...]:
    """What a person should know before trusting the model."""
    return (*_rare_classes(problem), *_beaten(problem, evidence, baselines))


def _rare_classes(problem: Problem) -> list[str]:
    if problem.task == "regression":
        return []
    sizes = problem.targets.sum(axis=0)
    single = [label for label, size in zip(problem.labels, sizes, strict=True) if size == 1]
    if not single:
        return []
    shown = ", ".join(single[:5]) + (f" and {len(single) - 5} more" if len(single) > 5 else "")
    return [f"Only one example of {shown}: learnt from, but not part of the estimate. Label more of them."]


def _beaten(problem: Problem, evidence: Evidence, baselines: Sequence[Baseline]) -> list[str]:
    value = evidence.value
    if value is None:
        return []
    sign = -1 if problem.task == "regression" else 1
    return [
        f"Worse than the baseline '{b.name}': {b.metric} {value:.4g} against {b.value:.4g}. "
        "Check the labels, add examples, or try another backbone."
        for b in baselines
        if sign * value < sign * b.value
    ]
