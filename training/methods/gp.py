"""Gaussian process regression with a linear and a Gaussian kernel, hyperparameters by evidence.

f ~ GP(0, v ((1 - s) exp(-gamma |z - z'|^2) + s z.z')), y = b + f + noise of variance v lambda. The width
gamma, the linear share s and lambda have the greatest evidence, v being at its best in closed form
(Rasmussen and Williams 2006, sections 2.2, 2.7 and 5.4.1); the search is a grid, which cannot get stuck.
The answer is the posterior mean. Classes are regressed on one-hot rows, as least-squares
classification (their section 6.5), and scaled into logits by a temperature fitted to the leave-one-out
predictions.
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
_WIDTHS = (0.1, 0.25, 0.5, 1.0, 2.0)
_SHARES = (0.0, 0.5, 0.9, 1.0)
_PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-5, 3.1, 0.5))
_SEARCHED = 300  # examples that decide the kernel; the penalty is then found on all
_SHARPNESS_PRIOR = 0.0  # regression scores have no natural scale: the examples alone decide


class GpHyperparameters(Hyperparameters):
    gamma: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="of exp(-gamma |z - z'|^2 / m), m the median squared distance; auto: evidence",
    )
    linear: Auto | float = Field(
        default="auto", ge=0, le=1, description="share of the linear kernel; auto: evidence"
    )
    noise: Auto | float = Field(
        default="auto", gt=0, le=1e9, description="lambda, the noise over the signal; auto: evidence"
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: `auto` is resolved by evidence inside the fit."""
        return [{"gamma": self.gamma, "linear": self.linear, "noise": self.noise}]


@dataclass(frozen=True, eq=False)
class _Kernels:
    """Of some rows: squared distances in units of their median, and inner products."""

    distances: Array
    products: Array

    def gram(self, width: float, share: float) -> Array:
        return np.asarray((1 - share) * np.exp(-width * self.distances) + share * self.products)


class Gp:
    info = MethodInfo(
        name="gp",
        title="Gaussian process, linear and Gaussian kernel",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5",
        hyperparameters=GpHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        kept = problem.take(draw_supports(len(problem), problem.seed))
        X = kept.X.astype(np.float64)
        distances = squared_distances(X, X)
        unit = median_distance(distances)
        kernels = _Kernels(distances / unit, X @ X.T)
        return [_fit(kept, kernels, unit, setting) for setting in grid]


def _fit(problem: Problem, kernels: _Kernels, unit: float, setting: Setting) -> Fitted:
    width, share = _likeliest_kernel(problem, kernels, setting)
    gram = kernels.gram(width, share)
    spectrum = Spectrum.of_gram(centred_gram(gram), problem.targets)
    noise = spectrum.likeliest_penalty(_choices(setting["noise"], _PENALTIES))
    dual = spectrum.dual(noise)
    bias = spectrum.mean - (gram @ dual).mean(axis=0)
    gain, shift = (2.0, -1.0) if problem.activation == "sigmoid" else (1.0, 0.0)  # one half: logit 0
    support = problem.X.astype(np.float64)
    head = KernelHead(
        support=support,
        gamma=width / unit,
        dual=gain * (1 - share) * dual,
        weight=gain * share * dual.T @ support,
        bias=gain * bias + shift,
        activation=problem.activation,
    )
    held_out = gain * spectrum.leave_one_out(noise) + shift
    factor = temperature(problem.activation, held_out, problem.targets, prior=_SHARPNESS_PRIOR)
    return Fitted(head.scaled(factor), {"gamma": width, "linear": share, "noise": noise})


def _likeliest_kernel(problem: Problem, kernels: _Kernels, setting: Setting) -> tuple[float, float]:
    """Width and linear share; the rows are in no order that means anything to a kernel."""
    rows = np.sort(np.random.default_rng(problem.seed).permutation(len(problem))[:_SEARCHED])
    part = _Kernels(kernels.distances[np.ix_(rows, rows)], kernels.products[np.ix_(rows, rows)])
    targets = problem.targets[rows]
    shares = _choices(setting["linear"], _SHARES)
    found = [(w, s) for s in shares for w in _choices(setting["gamma"], _WIDTHS)[: None if s < 1 else 1]]

    def surprise(kernel: tuple[float, float]) -> float:
        spectrum = Spectrum.of_gram(centred_gram(part.gram(*kernel)), targets)
        return min(spectrum.surprise(noise) for noise in _choices(setting["noise"], _PENALTIES))

    return found[0] if len(found) == 1 else min(found, key=surprise)


def _choices(given: object, choices: tuple[float, ...]) -> tuple[float, ...]:
    return choices if given == "auto" else (float(given),)  # type: ignore[arg-type]


register(Gp())
