"""A labelled source and a few labelled target examples: pooled, and guarded by the target alone.

logits = a pooled(x) + (1 - a) own(x). Both are logistic regressions: `pooled` on all rows, the source
shifted to the target's mean and the target's rows weighing together half of it (instance weighting, Jiang
and Zhai 2007); `own` on the target's rows alone. The share a = sigmoid(0.7 (e_own - e_pooled)) compares
their errors e on target rows held out, so that a source that misleads is left out: negative transfer costs
nearly nothing. With one example a class nothing can be held out; then a is one if the source by itself gets
at least half of them right, else zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field

from models.errors import JobFailed
from training.adaptation.domains import in_target, pooled_weights, spread
from training.adaptation.guards import Fit, held_out_errors, one_shot_share, pool_share
from training.adaptation.moves import affine
from training.folds import make_folds
from training.heads import AffineHead
from training.linear import logistic_path
from training.methods.base import (
    Alignment,
    Auto,
    Fitted,
    Hyperparameters,
    MethodInfo,
    Problem,
    Setting,
    register,
)

_GRID = (10.0, 0.1, 1.0, 100.0)


class GuardedPoolingHyperparameters(Hyperparameters):
    C: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="inverse strength of both heads' penalty, on features of unit mean square norm",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        return [{"C": C} for C in (_GRID if self.C == "auto" else (float(self.C),))]


class GuardedPooling:
    info = MethodInfo(
        name="guarded_pooling",
        title="Source and target pooled, guarded by the target alone",
        tasks=("classification",),
        setting="inductive",
        source="Jiang and Zhai 2007, Instance Weighting for Domain Adaptation; soft guard on held-out errors",
        hyperparameters=GuardedPoolingHyperparameters,
        needs=("target_labels",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        """Raises JobFailed without labelled rows of the target, or of a source."""
        return [_fit(problem, setting, rough) for setting in grid]


def _fit(problem: Problem, setting: Setting, rough: bool) -> Fitted:
    marks = in_target(problem)
    if not marks.any() or marks.all():
        message = "Give labelled examples of a source, and some of the target in the unlabelled_file."
        raise JobFailed(message, code="no_target_labels")
    own, source = problem.take(marks), problem.take(~marks)
    C = float(setting["C"])  # type: ignore[arg-type]
    fit_own = partial(_own, C=C, rough=rough)
    fit_pooled = partial(_pooled, source=source, C=C, rough=rough)
    share = _share(own, source, fit_own, fit_pooled, C)
    head = _blend(fit_pooled(own), fit_own(own), share)
    return Fitted(head, {**setting, "pooled_share": share}, _alignment(source, own))


def _share(own: Problem, source: Problem, fit_own: Fit, fit_pooled: Fit, C: float) -> float:
    """What the pooled head weighs."""
    folds = make_folds(replace(own, in_target=None))
    if folds.count:
        errors = [held_out_errors(fit, own, folds) for fit in (fit_own, fit_pooled)]
        return pool_share(*errors)
    moved = _alignment(source, own).moved(source)
    head = logistic_path(moved, [C / spread(moved.X)], rough=True)[0]
    hits = head.logits(own.X).argmax(axis=1) == own.y
    return one_shot_share(float(hits.mean()))


def _own(own: Problem, C: float, rough: bool) -> AffineHead:
    return logistic_path(own, [C / spread(own.X)], rough=rough)[0]


def _pooled(own: Problem, source: Problem, C: float, rough: bool) -> AffineHead:
    moved = _alignment(source, own).moved(source)
    X, y = np.concatenate([moved.X, own.X]), np.concatenate([moved.y, own.y])
    weights = pooled_weights(np.repeat([False, True], [len(moved), len(own)]))
    both = Problem(X, y, own.task, own.labels, own.seed)
    return logistic_path(both, [C / spread(X)], rough=rough, weights=weights)[0]


def _alignment(source: Problem, own: Problem) -> Alignment:
    """The source shifted to the mean of all that is known of the target."""
    seen = own.X if own.target is None else np.concatenate([own.target, own.X])
    return Alignment(affine(source.X.mean(axis=0, dtype=np.float64), seen.mean(axis=0, dtype=np.float64)))


def _blend(pooled: AffineHead, own: AffineHead, share: float) -> AffineHead:
    """A share of the pooled logits, the rest of the target's own."""
    weight = share * pooled.weight + (1 - share) * own.weight
    return AffineHead(weight, share * pooled.bias + (1 - share) * own.bias, own.activation)


register(GuardedPooling())
