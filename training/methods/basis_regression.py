"""Few-shot regression by basis expansion: a function of a few numbers, from a handful of its points.

y(x) = sum_j c_j phi_j(x), the c_j by regularised least squares whose penalty the evidence sets (MacKay
1992). The basis is Fourier's, smoothing splines, or learned: the principal components of the curves of
`source_file`, functions of the same kind as the one sought, so that k points need only settle the few
coefficients in which those differ (Loo, Lim, Roig, Cheung, ICLR LLD 2019, learn the basis by a network).
With more coefficients than examples the examples say nothing about some of them: refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.dataset import Pack
from models.errors import JobFailed
from training.evaluate import Evidence
from training.job import Job, Result
from training.methods.base import (
    Auto,
    Hyperparameters,
    MethodInfo,
    Problem,
    Setting,
    register_procedure,
)
from training.signals.bases import Basis, fourier, learned, splines
from training.signals.head import BasisHead, reader
from training.signals.posterior import Posterior, solve
from training.signals.raw import TAP, raw_choice, signals

Array = NDArray[np.float64]
Name = Literal["fourier", "splines", "learned"]
_PERIODS = (1.0, 1.5, 2.0)  # ranges of x
_SMOOTH = (1.0, 2.0, 4.0, 8.0)
_MOST = 32  # coefficients, where they are to be chosen
_MOST_INPUTS = 16

Coefficients = Annotated[int, Field(ge=1, le=1000, json_schema_extra={"format": "at-most-examples"})]
FileId = Annotated[str, Field(json_schema_extra={"format": "file-id"})]
Positive = Annotated[float, Field(gt=0, le=1e12)]


class BasisRegressionHyperparameters(Hyperparameters):
    basis: Auto | Name = Field(
        default="auto", description="auto: learned where there is a source_file, else by evidence"
    )
    coefficients: Auto | Coefficients = Field(
        default="auto",
        description="of the whole expansion, no more than examples; auto: as many, but at most 32, and of a "
        "learned basis half as many",
    )
    period: Auto | Positive = Field(
        default="auto", description="of the Fourier basis, in units of x; auto: 1, 1.5 or 2 ranges of x"
    )
    noise: Auto | Positive = Field(
        default="auto", description="standard deviation of the labels around the curve; auto: by evidence"
    )
    source_file: FileId | None = Field(
        default=None,
        description="a file or dataset of signals: curves on one grid of x to learn the basis from",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: what is `auto` is resolved by evidence inside the fit."""
        return [self.model_dump()]


@dataclass(frozen=True, eq=False)
class Curves:
    """Source functions `values` [m, G] at even places from `low` to `high`."""

    values: Array
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A basis and its coefficients; `setting` says which it is."""

    basis: Basis
    posterior: Posterior
    setting: Setting

    def predict(self, x: Array) -> Array:
        return np.asarray(self.basis.design(x) @ self.posterior.coefficients)


class BasisRegression:
    info = MethodInfo(
        name="basis_regression",
        title="Few-shot regression by basis expansion",
        tasks=("regression",),
        setting="few-shot",
        source="Regularised least squares on Fourier, spline or learned bases; evidence, MacKay 1992; "
        "Loo, Lim, Roig, Cheung, ICLR LLD 2019",
        hyperparameters=BasisRegressionHyperparameters,
        modalities=("signal",),
    )

    def run(self, job: Job) -> Result:
        given = BasisRegressionHyperparameters.model_validate(job.spec.hyperparameters)
        choice, x = raw_choice(job.spec), signals(job.data.pack)
        curves = _curves(job, given)
        _check(given, x, curves)
        features = job.embed_at(choice, TAP, job.data.pack)
        problem = Problem(features, job.data.y, "regression", job.data.names, job.spec.seed)
        candidates = list(_candidates(given, x, curves))
        fit = _fit(given, candidates, x, job.data.y[:, 0])
        shape = reader(x.shape[1], features.shape[1])
        return Result(
            method=self.info.name,
            setting=fit.setting,
            backbone=choice,
            tap=TAP,
            head=BasisHead(fit.basis, fit.posterior.coefficients[:, None], shape, np.zeros(x.shape[1])),
            labels=job.data.names,
            evidence=_evidence(job, given, candidates, problem, x),
            folds=job.folds,
            warnings=_warnings(x, curves),
        )


def _curves(job: Job, given: BasisRegressionHyperparameters) -> Curves | None:
    if given.source_file is None:
        if given.basis == "learned":
            message = "A learned basis needs source_file: a file of curves like the one to be found."
            raise JobFailed(message, code="no_source_curves", param="source_file")
        return None
    pack: Pack = job.read_pack(job.spec.extra_packs[given.source_file])
    grid = pack.input.grid
    if grid is None or grid.length < 2 or len(pack) < 2:
        message = "source_file must hold two signals or more, each with its values on a grid of x."
        raise JobFailed(message, code="no_source_curves", param="source_file")
    return Curves(signals(pack), grid.lo, grid.hi)


def _check(given: BasisRegressionHyperparameters, x: Array, curves: Curves | None) -> None:
    """Raises JobFailed where the examples do not fit what is asked."""
    examples, inputs = x.shape
    if given.coefficients != "auto" and given.coefficients > examples:
        message = f"{given.coefficients} coefficients cannot be found from {examples} examples: "
        raise JobFailed(message + "ask for fewer, or add examples.", code="too_many_coefficients")
    if inputs > (1 if curves else _MOST_INPUTS):
        most = "one number" if curves else f"{_MOST_INPUTS} numbers"
        message = f"Basis expansion takes inputs of {most} at most, and these have {inputs}."
        raise JobFailed(message, code="too_many_inputs")
    if (np.ptp(x, axis=0) == 0).any():
        message = "All examples have the same x, so nothing says how the values depend on it."
        raise JobFailed(message, code="constant_input")


def _candidates(
    given: BasisRegressionHyperparameters, x: Array, curves: Curves | None
) -> Iterator[tuple[Basis, Setting]]:
    """The bases that the examples' evidence chooses among."""
    name = given.basis if given.basis != "auto" else "learned" if curves else None
    if name == "learned" and curves:
        rank = max(1, len(x) // 2) if given.coefficients == "auto" else given.coefficients
        basis = learned(curves.values, curves.low, curves.high, rank)
        yield basis, {"basis": "learned", "coefficients": basis.coefficients}
        return
    count = min(len(x), _MOST) if given.coefficients == "auto" else given.coefficients
    low, high = x.min(axis=0), x.max(axis=0)
    if name != "splines":
        span = [p * (high - low) for p in _PERIODS] if given.period == "auto" else [0 * low + given.period]
        for period, smooth in product(span, _SMOOTH):
            setting: Setting = {"basis": "fourier", "coefficients": count, "period": float(period[0])}
            yield fourier(low, count, period, smooth), {**setting, "smooth": smooth}
    if name != "fourier":
        for smooth in _SMOOTH:
            yield (
                splines(low, high, count, smooth),
                {
                    "basis": "splines",
                    "coefficients": count,
                    "smooth": smooth,
                },
            )


def _fit(
    given: BasisRegressionHyperparameters, candidates: list[tuple[Basis, Setting]], x: Array, y: Array
) -> Fit:
    """The candidate of greatest evidence, fitted."""
    noise = None if given.noise == "auto" else given.noise
    fits = [Fit(basis, solve(basis, x, y, noise), setting) for basis, setting in candidates]
    best = max(fits, key=lambda fit: fit.posterior.log_evidence)
    return Fit(best.basis, best.posterior, {**best.setting, "noise": best.posterior.noise})


def _evidence(
    job: Job,
    given: BasisRegressionHyperparameters,
    candidates: list[tuple[Basis, Setting]],
    problem: Problem,
    x: Array,
) -> Evidence:
    """Out-of-fold predictions, the basis chosen anew in each fold."""
    found = np.zeros((len(x), 1))
    for learn, predict in job.folds:
        found[predict, 0] = _fit(given, candidates, x[learn], problem.y[learn, 0]).predict(x[predict])
    tested = job.folds.tested
    return Evidence({}, problem.take(tested), found[tested], 1.0)


def _warnings(x: Array, curves: Curves | None) -> tuple[str, ...]:
    if curves is None:
        return ()
    outside = int(((x < curves.low) | (x > curves.high)).sum())
    if not outside:
        return ()
    return (
        f"{outside} of {len(x)} examples lie outside the grid of the source curves, which ends at "
        f"{curves.low:g} and {curves.high:g}; there the ends of the curves are held.",
    )


register_procedure(BasisRegression())
