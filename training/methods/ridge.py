"""Ridge regression in closed form, its penalty chosen by exact leave-one-out or by evidence.

W = argmin |Y - Z W - b|^2 + lambda |W|^2 with a free intercept (`training.spectrum`). Lambda has the least
leave-one-out error (Allen 1974). Regression on fewer than 40 examples takes the lambda of greatest
evidence instead, which is Bayesian ridge regression (MacKay 1992): leave-one-out errors of so few are
noisy, and the penalty they like best is often far too small. Classification and multilabel regress on
one-hot rows and scale the result into logits by a temperature fitted to the leave-one-out predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.calibrate import temperature
from training.heads import AffineHead
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register
from training.spectrum import Spectrum

Array = NDArray[np.float64]
_FEW = 40
_FINE = tuple(float(value) for value in 10.0 ** np.arange(-4, 4.1, 0.25))
_SHARPNESS_PRIOR = 0.0  # regression scores have no natural scale: the examples alone decide


class RidgeHyperparameters(Hyperparameters):
    penalty: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e9,
        description="lambda, on features scaled to unit mean square norm; auto: least leave-one-out error, "
        "or greatest evidence for regression on fewer than 40 examples",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved inside the fit."""
        return [{"penalty": self.penalty}]


class Ridge:
    info = MethodInfo(
        name="ridge",
        title="Ridge regression, penalty by leave-one-out or evidence",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Hoerl and Kennard 1970; leave-one-out: Allen 1974; evidence: MacKay 1992",
        hyperparameters=RidgeHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        centre = problem.X.mean(axis=0, dtype=np.float64)
        centred = problem.X - centre
        spectrum = Spectrum.of_rows(centred, problem.targets)
        return [_fit(problem, centre, centred, spectrum, setting["penalty"]) for setting in grid]


def _fit(problem: Problem, centre: Array, centred: Array, spectrum: Spectrum, penalty: Any) -> Fitted:
    chosen = _penalty(problem, spectrum) if penalty == "auto" else float(penalty)
    weight = spectrum.dual(chosen).T @ centred
    bias = spectrum.mean - weight @ centre
    gain, shift = (2.0, -1.0) if problem.activation == "sigmoid" else (1.0, 0.0)  # one half: logit 0
    head = AffineHead(gain * weight, gain * bias + shift, problem.activation)
    held_out = gain * spectrum.leave_one_out(chosen) + shift
    factor = temperature(problem.activation, held_out, problem.targets, prior=_SHARPNESS_PRIOR)
    return Fitted(head.scaled(factor), {"penalty": chosen})


def _penalty(problem: Problem, spectrum: Spectrum) -> float:
    if problem.task == "regression" and len(problem) < _FEW:
        return spectrum.likeliest_penalty(_FINE)
    return spectrum.best_penalty()


register(Ridge())
