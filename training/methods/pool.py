"""An anchored pool of heads: logistic regression helped by others as far as the examples ask for it.

The logits of the members are added, each at its own temperature, with weights that minimise the smoothed
out-of-fold log-loss plus a pull to the anchor (`training.pooling`). It does not lose to its anchor by more
than noise, and gains where the classes are not linearly separable (docs/auto.md). All affine members
become one product; kernel ridge and nearest neighbours, where they are wanted, stand beside it in the
same graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.calibrate import temperature
from training.folds import Folds, make_folds
from training.heads import Scores
from training.heldout import hold_out
from training.members import every_member, member_key, members
from training.methods.base import METHODS, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register
from training.pooled import pool_heads
from training.pooling import cross_fitted, pool_weights, prior_weights


class PoolHyperparameters(Hyperparameters):
    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: the weights are found inside the fit."""
        return [{}]


class Pool:
    info = MethodInfo(
        name="pool",
        title="Anchored pool of logistic regression and four others",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Logarithmic opinion pool: Genest and Zidek 1986; stacking: Wolpert 1992",
        hyperparameters=PoolHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        """`{}` finds the weights; a setting with weights (of an earlier fit) is taken as it is."""
        return [_fit(problem, setting or weigh(problem), rough) for setting in grid]

    def hold_out(self, problem: Problem, grid: Sequence[Setting], folds: Folds) -> Scores:
        """One cross-validation of the members serves; each row's weights come from the other folds."""
        tempered, _ = _held_out(problem, folds)
        rows, prior = folds.tested, prior_weights(len(tempered))
        found = np.zeros(problem.targets.shape)
        targets, fold = problem.targets[rows], folds.fold[rows]
        found[rows] = cross_fitted(problem.activation, tempered, targets, prior, fold)
        return np.stack([found] * len(grid))


def weigh(problem: Problem) -> Setting:
    """What each member's logits are multiplied by; members without weight are left out."""
    folds = make_folds(problem)
    tempered, factors = _held_out(problem, folds)
    targets, prior = problem.targets[folds.tested], prior_weights(len(tempered))
    weights = pool_weights(problem.activation, tempered, targets, prior)
    keys = [member_key(*member) for member in members(problem)]
    return {key: float(w * f) for key, w, f in zip(keys, weights, factors, strict=True) if w > 0}


def _held_out(problem: Problem, folds: Folds) -> tuple[Scores, NDArray[np.float64]]:
    """Out-of-fold logits [M, 1, m, C] of the members, each at its temperature, and those factors [M]."""
    rows, targets = folds.tested, problem.targets[folds.tested]
    found = np.stack([hold_out(METHODS[m], problem, [s], folds)[:, rows] for m, s in members(problem)])
    factors = np.array([temperature(problem.activation, one[0], targets) for one in found])
    return found * factors[:, None, None, None], factors


def _fit(problem: Problem, setting: Setting, rough: bool) -> Fitted:
    heads = []
    for name, one in every_member(problem.task):
        value = setting.get(member_key(name, one))
        if value is not None:
            fitted = METHODS[name].fit(problem, [one], rough=rough)[0]
            heads.append(fitted.head.scaled(float(value)))
    return Fitted(pool_heads(heads), setting)


register(Pool())
