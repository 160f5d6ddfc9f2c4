"""Siamese noise removal: features that do not see the noise, from pairs of a clean and a noisy signal.

Each training signal, simulated as a rule, is paired with copies of itself under white noise. What noise does
to the features, its mean included, becomes the unit in which a linear map on them measures, after VICReg
(Bardes, Ponce, LeCun 2022; `training.signals.denoise`), and a linear head learns in its coordinates. The
amount of the map, and whether the head learns from the noisy copies too, are chosen by the mean loss on
held-out signals under no noise, the given noise and twice as much; the report has the same figures before
and after, as `robustness_...`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.calibrate import losses, temperature
from training.evaluate import METRIC, Evidence, task_metrics
from training.folds import Folds
from training.job import Job, Result
from training.methods.base import (
    Auto,
    Floats,
    Hyperparameters,
    MethodInfo,
    Problem,
    Setting,
    register_procedure,
)
from training.signals.augment import noise_level
from training.signals.denoise import Recipe, fit_denoised, fit_plain
from training.signals.raw import signals
from training.source import Source

Array = NDArray[np.float64]
_RECIPES = tuple(Recipe(s, c) for c, s in product((False, True), (0.1, 0.5)))
_TIMES = (0.0, 1.0, 2.0)  # the noise at which heads are judged
_LEARNT = (0.5, 1.0, 1.5, 2.0)  # the noise of the copies that are learnt from, in turn
_LEAST = 0.05  # of the signals' root mean square deviation: simulations have no noise to be measured
_MOST_FOLDS = 5
_MOST_COPIES = 16_000  # of all signals together


class SiameseDenoiseHyperparameters(Hyperparameters):
    noise: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e12,
        description="standard deviation, in the signals' units; auto: that of the unlabelled file's signals, "
        "else of the training signals, but at least 5 % of how far they deviate from their mean",
    )
    copies: int = Field(default=8, ge=1, le=64, description="noisy ones of each signal")

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: what is left open is chosen by the procedure itself."""
        return [self.model_dump()]


class SiameseDenoise:
    info = MethodInfo(
        name="siamese_denoise",
        title="Features without the noise, from pairs of clean and noisy signals",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="VICReg, Bardes, Ponce, LeCun 2022; its closed form, Balestriero, LeCun 2022",
        hyperparameters=SiameseDenoiseHyperparameters,
        modalities=("signal",),
    )

    def run(self, job: Job) -> Result:
        given = SiameseDenoiseHyperparameters.model_validate(job.spec.hyperparameters)
        source = _source(job)
        level = _level(job) if given.noise == "auto" else given.noise
        views = _views(job, source, level, given.copies)
        folds = Folds(np.where(job.folds.fold >= 0, job.folds.fold % _MOST_FOLDS, -1))
        before, *tried = _held_out(job, views, folds)
        best = min(range(len(_RECIPES)), key=lambda i: _loss(views.problem, folds, tried[i]))
        evidence = _evidence(views.problem, folds, tried[best][0])
        head = fit_denoised(views.problem, views.noisy, [_RECIPES[best]])[0].scaled(evidence.factor)
        setting: Setting = {"noise": level, "copies": len(views.noisy), **vars(_RECIPES[best])}
        return Result(
            method=self.info.name,
            setting=setting,
            backbone=source.backbone,
            tap=source.tap,
            head=head,
            labels=job.data.names,
            evidence=replace(evidence, setting=setting),
            folds=folds,
            metrics=_robustness(views.problem, folds, {"before": before, "after": tried[best]}),
        )


@dataclass(frozen=True, eq=False)
class _Views:
    """The examples with their raw features; the same of noisy copies to learn from, `noisy` [k, n, D], and
    of the signals at each noise that heads are judged at, `judged` [len(_TIMES), n, D]."""

    problem: Problem
    noisy: Floats
    judged: Floats


def _source(job: Job) -> Source:
    """The first real backbone's first tap."""
    return next((source for source in job.sources if not source.backbone.baseline), job.sources[0])


def _level(job: Job) -> float:
    x = signals(job.data.pack)
    spread = float(np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).mean()))
    seen = x if job.data.target is None else signals(job.data.target)
    return max(noise_level(seen), _LEAST * spread, float(np.finfo(np.float32).tiny))


def _views(job: Job, source: Source, level: float, copies: int) -> _Views:
    x, rng = signals(job.data.pack), np.random.default_rng(job.spec.seed)
    copies = max(1, min(copies, _MOST_COPIES // len(x)))
    times = [*(_LEARNT[number % len(_LEARNT)] for number in range(copies)), *_TIMES[1:]]
    noisy = [x + many * level * rng.standard_normal(x.shape) for many in times]
    contents = [row.astype("<f4").tobytes() for one in noisy for row in one]
    job.phases.progress(0.1, f"Computing features of {len(contents)} noisy copies.")
    found = job.features.fresh(source.backbone, source.tap, contents).reshape(len(times), len(x), -1)
    return _Views(source.raw, found[:copies], np.concatenate([source.raw.X[None], found[copies:]]))


def _held_out(job: Job, views: _Views, folds: Folds) -> Array:
    """Out-of-fold logits [1 + recipes, noises, n, C], the plain head's first."""
    problem = views.problem
    found = np.zeros((1 + len(_RECIPES), len(_TIMES), *problem.targets.shape))
    for number, (learn, predict) in enumerate(folds):
        part = problem.take(learn)
        heads = [fit_plain(part), *fit_denoised(part, views.noisy[:, learn], _RECIPES)]
        for place, head in enumerate(heads):
            for noise, X in enumerate(views.judged):
                found[place, noise, predict] = head.logits(X[predict])
        job.phases.progress(0.5 + 0.5 * (number + 1) / folds.count, f"Fold {number + 1} of {folds.count}.")
    return found


def _loss(problem: Problem, folds: Folds, logits: Array) -> float:
    """Mean over the noises of the held-out loss of logits [noises, n, C]; 0 where nothing was held out."""
    tested = problem.take(folds.tested)
    if not len(tested):
        return 0.0
    return float(
        np.mean([losses(tested.activation, at[folds.tested], tested.targets).mean() for at in logits])
    )


def _evidence(problem: Problem, folds: Folds, logits: Array) -> Evidence:
    tested, found = problem.take(folds.tested), logits[folds.tested]
    factor = temperature(tested.activation, found, tested.targets)
    return Evidence({}, tested, found * factor, factor)


def _robustness(problem: Problem, folds: Folds, heads: Mapping[str, Array]) -> dict[str, float]:
    """The task's metric out of fold at each noise, as `robustness_after_2x`."""
    tested = problem.take(folds.tested)
    if not len(tested):
        return {}
    return {
        f"robustness_{name}_{times:g}x": task_metrics(tested, at[folds.tested])[METRIC[tested.task]]
        for name, logits in heads.items()
        for times, at in zip(_TIMES, logits, strict=True)
    }


register_procedure(SiameseDenoise())
