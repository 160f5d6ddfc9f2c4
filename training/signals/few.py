"""A labelled source and a few labelled examples of the real thing: who is held out, and what that shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.errors import JobFailed
from models.report import Baseline, Estimate
from training.calibrate import temperature
from training.evaluate import METRIC, Evidence, estimate
from training.folds import Folds
from training.heads import Scores
from training.job import Job
from training.methods.base import Problem, Setting
from training.metrics import regression_metrics
from training.source import Source

MOST_FOLDS = 6
MOST_SOURCE = 1000  # rows of the source that are learnt from


def real_rows(job: Job) -> NDArray[np.bool_]:
    """bool [n]: the labelled examples that are real. Raises JobFailed where one of the two sides is empty."""
    real = job.data.in_target
    if not real.any():
        message = "This method fits a source to a few real examples: give them, labelled, as unlabelled_file."
        raise JobFailed(message, code="no_target_labels")
    if real.all():
        raise JobFailed(
            "Every example is a real one: there is no source to start from.", code="no_source_data"
        )
    return real


def source_rows(real: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Rows of the source, ascending: all of them, or a seeded draw of MOST_SOURCE."""
    rows = np.flatnonzero(~real)
    if len(rows) <= MOST_SOURCE:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_SOURCE, replace=False))


def real_folds(real: NDArray[np.bool_], seed: int) -> Folds:
    """Real examples are held out, one by one up to MOST_FOLDS of them; the source is always learnt from."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(real))
    fold = np.full(len(real), -1, np.int64)
    if len(rows) > 1:
        fold[rows] = np.arange(len(rows)) % min(len(rows), MOST_FOLDS)
    return Folds(fold)


def views(job: Job) -> Iterator[Source]:
    """Features of every candidate backbone and tap, and of the declared baselines."""
    yield from job.sources
    yield from job.rivals


def evidence(setting: Setting, problem: Problem, folds: Folds, logits: Scores) -> Evidence:
    """Of held-out `logits` [n, C], rows that were not held out being ignored, with their temperature."""
    tested = problem.take(folds.tested)
    found = logits[folds.tested]
    factor = temperature(tested.activation, found, tested.targets)
    return Evidence(setting, tested, found * factor, factor)


def better(challenger: Evidence, champion: Evidence) -> bool:
    """Whether the challenger's loss on the same rows is lower, by over the standard error of the gain."""
    gain = champion.losses - challenger.losses
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def real_estimate(found: Evidence, folds: Folds) -> Estimate:
    """An estimate that counts the real examples alone."""
    if not folds.count:
        how = "The only real example was learnt from; a second one would test."
        metric = METRIC[found.problem.task]
        return Estimate(metric=metric, value=None, n=0, how=how, insufficient_evidence=True)
    return estimate(found, folds, len(found.logits))


def mean_baseline(found: Evidence) -> tuple[Baseline, ...]:
    """Regression: the mean of the other real examples; nothing else is worth comparing with so few."""
    truth = found.problem.targets
    if found.problem.task != "regression" or len(truth) < 2:
        return ()
    others = (truth.sum(axis=0) - truth) / (len(truth) - 1)
    value = regression_metrics(truth, others)["rmse"]
    return (Baseline(name="mean of the other real examples", metric="rmse", value=value),)
