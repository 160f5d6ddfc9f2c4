"""Kernel ridge regression with a Gaussian kernel, width and penalty by exact leave-one-out.

a = (H K H + lambda I)^-1 H Y with K_ij = exp(-gamma |z_i - z_j|^2) and H the centring matrix, that is,
with an unpenalised intercept (Saunders, Gammerman, Vovk 1998). gamma is 1/4, 1/2, 1 or 2 over the median
squared distance; one eigendecomposition a gamma serves every lambda and its leave-one-out error (Rifkin
and Lippert 2007). Classification and multilabel regress on one-hot rows and scale the result into logits
by a temperature fitted to the leave-one-out predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.calibrate import temperature
from training.kernel import KernelHead, draw_supports, median_distance, squared_distances
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register
from training.spectrum import Spectrum, centred_gram

Array = NDArray[np.float64]
_WIDTHS = (0.25, 0.5, 1.0, 2.0)
_PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-4, 2.5, 0.5))
_SHARPNESS_PRIOR = 0.0  # regression scores have no natural scale: the examples alone decide


class KrrHyperparameters(Hyperparameters):
    gamma: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="of exp(-gamma |z - z'|^2 / m), m the median squared distance; auto: leave-one-out",
    )
    penalty: Auto | float = Field(
        default="auto", gt=0, le=1e9, description="lambda; auto: least leave-one-out error"
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved by leave-one-out inside the fit."""
        return [{"gamma": self.gamma, "penalty": self.penalty}]


@dataclass(frozen=True, eq=False)
class _Kernel:
    """One width, decomposed."""

    width: float
    gram: Array
    spectrum: Spectrum
    penalty: float

    @property
    def error(self) -> float:
        return self.spectrum.left_out_error(self.penalty)


class Krr:
    info = MethodInfo(
        name="krr",
        title="Kernel ridge regression, Gaussian kernel",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Saunders, Gammerman, Vovk 1998; leave-one-out: Rifkin and Lippert 2007",
        hyperparameters=KrrHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        kept = problem.take(draw_supports(len(problem), problem.seed))
        return [_fit(kept, setting) for setting in grid]


def _fit(problem: Problem, setting: Setting) -> Fitted:
    distances = squared_distances(problem.X, problem.X)
    unit = median_distance(distances)
    widths = _WIDTHS if setting["gamma"] == "auto" else (float(setting["gamma"]),)  # type: ignore[arg-type]
    kernels = [_decompose(problem, distances / unit, width, setting["penalty"]) for width in widths]
    best = min(kernels, key=lambda kernel: kernel.error)
    head = _head(problem, best, unit)
    return Fitted(head, {"gamma": best.width, "penalty": best.penalty})


def _decompose(problem: Problem, distances: Array, width: float, penalty: object) -> _Kernel:
    gram = np.exp(-width * distances)
    spectrum = Spectrum.of_gram(centred_gram(gram), problem.targets)
    chosen = spectrum.best_penalty(_PENALTIES) if penalty == "auto" else float(penalty)  # type: ignore[arg-type]
    return _Kernel(width, gram, spectrum, chosen)


def _head(problem: Problem, kernel: _Kernel, unit: float) -> KernelHead:
    dual = kernel.spectrum.dual(kernel.penalty)
    bias = kernel.spectrum.mean - (kernel.gram @ dual).mean(axis=0)
    gain, shift = (2.0, -1.0) if problem.activation == "sigmoid" else (1.0, 0.0)  # one half: logit 0
    head = KernelHead(
        support=problem.X.astype(np.float64),
        gamma=kernel.width / unit,
        dual=gain * dual,
        weight=np.zeros((len(bias), problem.X.shape[1])),
        bias=gain * bias + shift,
        activation=problem.activation,
    )
    held_out = gain * kernel.spectrum.leave_one_out(kernel.penalty) + shift
    return head.scaled(temperature(problem.activation, held_out, problem.targets, prior=_SHARPNESS_PRIOR))


register(Krr())
