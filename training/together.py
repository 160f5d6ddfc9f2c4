"""Logistic heads of all folds of a cross-validation at once, where there are few examples.

As `training.linear`, with a mask of rows for each fold: every fold takes its steps beside the others, which
spares the start of some twenty numpy calls a fold and step. What is minimised is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.folds import Folds
from training.heads import Scores
from training.linear import along
from training.methods.base import Problem

Array = NDArray[np.float64]
Objective = Callable[[Array], tuple[Array, Array]]
"""Parameters [d, F, C] of F folds to their values [F] and gradients [d, F, C]."""

_MOST = 250  # rows: with more, a fold's own products take longer than the start of the calls
_LARGEST = 2_000_000  # multiply-adds a pass, as for a single fold
_TOLERANCE = 1e-2
_MEMORY = 10
_ARMIJO = 1e-4
_SMALLEST_STEP = 1e-6
_STALLED = float(np.finfo(np.float64).eps) / 100


def few(problem: Problem) -> bool:
    """Whether all folds at once are faster than one after the other."""
    return len(problem) <= _MOST and problem.X.size * problem.targets.shape[1] <= _LARGEST


def held_out_path(problem: Problem, path: Sequence[float], divisions: Sequence[Folds]) -> list[list[Scores]]:
    """Logits float64 [n, C] of the tested rows (others 0): for each division, for each C, ascending.

    The fits are as rough as those that `training.heldout` makes.
    """
    learnt = np.array([learn for folds in divisions for learn, _ in folds])
    loss = _Losses(problem, learnt.T.astype(np.float64))
    found = [loss.logits(parameters) for parameters in _solve_path(loss, path)]
    starts = np.cumsum([0, *(folds.count for folds in divisions)])
    return [
        [_tested(logits[:, start : start + folds.count], folds) for logits in found]
        for start, folds in zip(starts, divisions, strict=False)
    ]


def _tested(logits: Array, folds: Folds) -> Scores:
    """Of [n, F, C] each tested row's by the fold that had not seen it."""
    rows, found = folds.tested, np.zeros((len(logits), logits.shape[2]))
    found[rows] = logits[rows, folds.fold[rows]]
    return found


class _Losses:
    """Of each fold the sum of the losses of its rows; `learnt` [n, F] is 1 where a fold learns from a row."""

    def __init__(self, problem: Problem, learnt: Array) -> None:
        self.Z = np.concatenate([problem.X, np.ones((len(problem), 1))], axis=1, dtype=np.float64)
        self.targets = problem.targets
        self.softmax = problem.activation == "softmax"
        self.learnt = learnt
        self.power = (self.Z**2).T @ learnt

    def __call__(self, parameters: Array) -> tuple[Array, Array]:
        losses, rest = self._rows(parameters)
        rest -= self.targets[:, None]
        rest *= self.learnt[:, :, None]
        gradient = self.Z.T @ rest.reshape(len(rest), -1)
        return (losses * self.learnt).sum(axis=0), gradient.reshape(parameters.shape)

    def curvature(self, parameters: Array) -> Array:
        """Of each fold the mean of p (1 - p) over its rows and the classes: how far its loss bends."""
        p = self._rows(parameters)[1]
        bends = (p * (1 - p)).mean(axis=2)
        return np.asarray((bends * self.learnt).sum(axis=0) / self.learnt.sum(axis=0))

    def logits(self, parameters: Array) -> Array:
        """[n, F, C]: of every row in each fold."""
        found = self.Z @ parameters.reshape(len(parameters), -1)
        return found.reshape(len(found), *parameters.shape[1:])

    def _rows(self, parameters: Array) -> tuple[Array, Array]:
        """Each row's loss [n, F] and probabilities [n, F, C] in each fold."""
        logits = self.logits(parameters)
        linear = np.einsum("nc,nfc->nf", self.targets, logits)
        if not self.softmax:
            return np.logaddexp(0, logits).sum(axis=2) - linear, 0.5 * (1 + np.tanh(logits / 2))
        top = logits.max(axis=2, keepdims=True)
        logits -= top
        np.exp(logits, out=logits)
        total = logits.sum(axis=2, keepdims=True)
        logits /= total
        return (np.log(total) + top)[:, :, 0] - linear, logits


def _solve_path(loss: _Losses, path: Sequence[float]) -> list[Array]:
    """The minimisers [d, F, C] at each C, ascending; starts are extrapolated along the path."""
    start = np.zeros((loss.Z.shape[1], loss.learnt.shape[1], loss.targets.shape[1]))
    return along(path, start, lambda C, start, last: _solve(loss, C, start, loss.curvature(last)))


def _solve(loss: _Losses, C: float, start: Array, curvature: Array) -> Array:
    """Minimise in coordinates where the Hessians' diagonals are about one."""
    penalty = np.full((len(start), 1, 1), 1 / C)
    penalty[-1] = 0  # the intercept is free
    unit = np.sqrt((curvature * loss.power)[:, :, None] + penalty)

    def objective(scaled: Array) -> tuple[Array, Array]:
        parameters = scaled / unit
        value, gradient = loss(parameters)
        shrink = penalty * parameters
        return value + 0.5 * _dot(shrink, parameters), (gradient + shrink) / unit

    return np.asarray(minimise_each(objective, start * unit, _TOLERANCE) / unit)


def minimise_each(objective: Objective, start: Array, tolerance: float, max_iterations: int = 500) -> Array:
    """The minimisers [d, F, C] of F convex functions, as `training.lbfgs.minimise` finds that of one.

    A function that has ended takes no further step and waits for the others.
    """
    x, (value, gradient) = start, objective(start)
    pairs: deque[tuple[Array, Array, Array]] = deque(maxlen=_MEMORY)
    scale = np.ones(len(value))
    going = np.ones(len(value), bool)
    for _ in range(max_iterations):
        going &= np.abs(gradient).max(axis=(0, 2)) > tolerance
        if not going.any():
            break
        direction = _directions(gradient, pairs, scale) * going[:, None]
        moved, new_value, new_gradient = _search(objective, x, value, gradient, direction)
        step, change = moved - x, new_gradient - gradient
        curvature = _dot(step, change)
        bent = curvature > 0  # where it is not, the pair counts nothing
        pairs.append((step, change, np.where(bent, 1 / np.where(bent, curvature, 1), 0)))
        scale = np.where(bent, curvature / np.where(bent, _dot(change, change), 1), scale)
        going &= value - new_value > _STALLED * np.abs(value)
        x, value, gradient = moved, new_value, new_gradient
    return x


def _search(
    objective: Objective, x: Array, value: Array, gradient: Array, direction: Array
) -> tuple[Array, Array, Array]:
    """Halve each step until its value falls enough (Armijo); one that never does is not taken."""
    slope, length = _dot(gradient, direction), np.ones(len(value))
    while True:
        moved = x + length[:, None] * direction
        new_value, new_gradient = objective(moved)
        short = new_value > value + _ARMIJO * length * slope
        if not short.any():
            return moved, new_value, new_gradient
        length = np.where(short, length / 2, length)
        length[length < _SMALLEST_STEP] = 0


def _directions(gradient: Array, pairs: deque[tuple[Array, Array, Array]], scale: Array) -> Array:
    """The two-loop recursion for each function: minus its inverse Hessian times its gradient."""
    result, weights = gradient.copy(), []
    for step, change, rho in reversed(pairs):
        weights.append(rho * _dot(step, result))
        result -= weights[-1][:, None] * change
    result *= scale[:, None]
    for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
        result += (weight - rho * _dot(change, result))[:, None] * step
    return -result


def _dot(a: Array, b: Array) -> Array:
    """Each function's own inner product [F]."""
    return np.asarray(np.einsum("dfc,dfc->f", a, b))
