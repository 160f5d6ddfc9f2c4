"""Simulation to reality for signals: learn from a simulator, let a few real examples set the instrument.

The simulated examples are the training file; the real ones are the labelled rows of `unlabelled_file`. One
real example is enough to find the shift, broadening, gain and offset with which the simulator would have
made it (`training.signals.calibrate`); the simulations then go through that instrument, with the real
noise, before a head is fitted on them. What remains is corrected by the same few examples, as their number
allows: an output bias (Fearn 2001, slope and bias correction), a pooled fit in which the real examples
weigh half as much as all simulations (Daume 2007's PRED and ALL baselines), or features blind to the
directions in which real and simulated signals still differ (external parameter orthogonalisation, Roger,
Chauchard, Bellon-Maurel 2003). Which one, and at which tap, is decided by leaving real examples out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.report import Baseline, Candidate
from training.calibrate import losses
from training.evaluate import METRIC, Evidence
from training.heads import AffineHead, Scores
from training.job import Job, Result
from training.methods.base import Auto, Hyperparameters, MethodInfo, Problem, Setting, register_procedure
from training.signals import few
from training.signals.affine import fit_affine
from training.signals.corrections import Correction, fit_corrected
from training.signals.study import Study, World
from training.source import Source

_PLAIN: tuple[Correction, ...] = ("simulated",)
_ALL: tuple[Correction, ...] = (*_PLAIN, "calibrated", "pooled", "orthogonal", "output_bias")
_FEW = 3  # real examples from which a pooled fit is the default
_HELD_OUT = 4  # one in so many simulations judges a tap while real examples are too few to do so


class SimToRealHyperparameters(Hyperparameters):
    correction: Auto | Correction = Field(
        default="auto",
        description="simulated: no calibration at all; calibrated: the instrument only; output_bias, pooled "
        "and orthogonal correct what remains. auto: by leaving real examples out",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved by the procedure itself."""
        return [self.model_dump()]


class SimToReal:
    info = MethodInfo(
        name="sim_to_real",
        title="Simulation calibrated by a few real signals",
        tasks=("regression", "classification"),
        setting="one-shot",
        source="Calibration transfer: Fearn 2001 (bias), Roger et al. 2003 (orthogonalisation); "
        "shift, broadening, gain and offset by penalised least squares",
        hyperparameters=SimToRealHyperparameters,
        needs=("target_labels",),
        modalities=("signal",),
    )

    def run(self, job: Job) -> Result:
        given = SimToRealHyperparameters.model_validate(job.spec.hyperparameters)
        study = Study.of(job)
        trials = _trials(study, given)
        best = _chosen(study, trials, given)
        model = _fit(study, best.view, best.correction, study.real, study.worlds[-1])
        found = few.evidence({"correction": best.correction}, best.view.raw, study.folds, best.logits)
        return Result(
            method=self.info.name,
            setting=_setting(best.correction, study),
            backbone=best.view.backbone,
            tap=best.view.tap,
            head=model.scaled(found.factor),
            labels=job.data.names,
            evidence=found,
            folds=study.folds,
            candidates=tuple(_candidate(trial, study, trial is best) for trial in trials),
            estimate=few.real_estimate(found, study.folds),
            baselines=_baselines(study, trials, best, found),
        )


@dataclass(frozen=True, eq=False)
class _Trial:
    """A correction at a tap: held-out logits [n, C] and, without enough real rows, `doubt` about the tap."""

    view: Source
    correction: Correction
    logits: Scores
    evidence: Evidence
    doubt: float
    seconds: float


def _trials(study: Study, given: SimToRealHyperparameters) -> list[_Trial]:
    """The default correction at every tap, then the others at the best of them."""
    default = given.correction if given.correction != "auto" else _default(study)
    screened = [_trial(study, view, default) for view in few.views(study.job)]
    best = min(screened, key=lambda trial: trial.doubt)
    others = _corrections(study) if given.correction == "auto" else _PLAIN
    return [*screened, *(_trial(study, best.view, other) for other in others if other != default)]


def _default(study: Study) -> Correction:
    if study.shots >= _FEW:
        return "pooled"
    return "output_bias" if study.job.spec.task == "regression" else "calibrated"


def _corrections(study: Study) -> tuple[Correction, ...]:
    return _ALL if study.job.spec.task == "regression" else _ALL[:-1]


def _trial(study: Study, view: Source, correction: Correction) -> _Trial:
    started = time.perf_counter()
    logits = np.zeros((len(study.real), view.raw.targets.shape[1]))
    for world, (learn, predict) in zip(study.worlds, study.folds, strict=False):
        head = _fit(study, view, correction, study.real & learn, world)
        logits[predict] = head.logits(view.raw.X[predict])
    found = few.evidence({"correction": correction}, view.raw, study.folds, logits)
    enough = study.shots >= _FEW and found.loss is not None
    doubt = found.loss if enough and found.loss is not None else _simulated_loss(study, view)
    return _Trial(view, correction, logits, found, doubt, time.perf_counter() - started)


def _fit(
    study: Study, view: Source, correction: Correction, real: NDArray[np.bool_], world: World
) -> AffineHead:
    plain = view.raw.take(study.source)
    calibrated = replace(plain, X=study.simulated(view, world))
    return fit_corrected(correction, plain, calibrated, view.raw.take(real))


def _simulated_loss(study: Study, view: Source) -> float:
    """Loss on calibrated simulations, noise and all, that the head did not see."""
    world = study.worlds[-1]
    problem = replace(view.raw.take(study.source), X=study.simulated(view, world))
    tested = np.arange(len(problem)) % _HELD_OUT == 0
    head = fit_affine(problem.take(~tested))
    rest = problem.take(tested)
    return float(losses(rest.activation, head.logits(rest.X), rest.targets).mean())


def _chosen(study: Study, trials: list[_Trial], given: SimToRealHyperparameters) -> _Trial:
    """The default at its best tap, unless another correction there is better by its standard error."""
    default = trials[0].correction
    champion = min((t for t in trials if t.correction == default), key=lambda trial: trial.doubt)
    if given.correction != "auto":
        return champion
    rivals = [t for t in trials if t.correction != default]
    better = [t for t in rivals if few.better(t.evidence, champion.evidence)]
    return min(better, key=lambda trial: trial.doubt, default=champion)


def _setting(correction: Correction, study: Study) -> Setting:
    """The correction, and the instrument that all real examples point to, its axis amounts on the grid."""
    instrument, grid = study.worlds[-1].instrument, study.job.data.pack.input.grid
    span = 1.0 if grid is None else grid.hi - grid.lo
    return {
        "correction": correction,
        "shift": instrument.shift * span,
        "broadening": instrument.broadening * span,
        "gain": instrument.gain,
        "offset": instrument.offset,
    }


def _candidate(trial: _Trial, study: Study, chosen: bool) -> Candidate:
    return Candidate(
        backbone=trial.view.backbone.id,
        tap=trial.view.tap,
        method=SimToReal.info.name,
        params=_setting(trial.correction, study) if chosen else {"correction": trial.correction},
        metric=METRIC[study.job.spec.task],
        value=trial.evidence.value,
        loss=trial.evidence.loss,
        low=None,
        high=None,
        seconds=trial.seconds,
        chosen=chosen,
    )


def _baselines(study: Study, trials: list[_Trial], best: _Trial, found: Evidence) -> tuple[Baseline, ...]:
    """The simulation as it is, and what the other real examples alone would say."""
    plain = [
        t for t in trials if t.correction == "simulated" and t is not best and t.evidence.value is not None
    ]
    metric = METRIC[study.job.spec.task]
    return (
        *(
            Baseline(name="the simulation as it is", metric=metric, value=t.evidence.value or 0.0)
            for t in plain[-1:]
        ),
        *few.mean_baseline(found),
    )


register_procedure(SimToReal())
