"""Out-of-fold predictions, plain and by a method's own way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.training_support import blobs
from training.evaluate import cross_validate
from training.folds import Folds, make_folds
from training.heads import Scores
from training.heldout import hold_out
from training.methods import METHODS
from training.methods.base import Problem, Setting
from training.methods.prototypes import Prototypes


def test_each_row_is_answered_by_a_fit_without_it() -> None:
    problem, grid = blobs("classification", per_class=4), [{"sharpness": 1.0}, {"sharpness": 2.0}]
    folds = make_folds(problem)
    found = hold_out(METHODS["prototypes"], problem, grid, folds)
    for learn, predict in folds:
        fitted = METHODS["prototypes"].fit(problem.take(learn), grid)
        for logits, one in zip(found, fitted, strict=True):
            np.testing.assert_allclose(logits[predict], one.head.logits(problem.X[predict]))


def test_method_may_hold_out_by_itself() -> None:
    class Knowing(Prototypes):
        def hold_out(self, problem: Problem, grid: Sequence[Setting], folds: Folds) -> Scores:
            return np.stack([10 * problem.targets] * len(grid))

    problem = blobs("classification")
    evidence = cross_validate(Knowing(), problem, [{"sharpness": 1.0}], make_folds(problem))[0]
    assert evidence.value == 1


def test_repeated_deals_are_averaged_for_comparing_only() -> None:
    problem = blobs("classification", per_class=20)
    folds = make_folds(problem)
    evidence = cross_validate(METHODS["prototypes"], problem, [{"sharpness": 1.0}], folds)[0]
    alone = cross_validate(METHODS["prototypes"], problem, [{"sharpness": 1.0}], Folds(folds.fold))[0]
    assert len(evidence.all_logits) == 3
    assert evidence.logits.shape == problem.targets.shape
    assert evidence.value == alone.value
    assert evidence.losses.std() > 0
    assert not np.allclose(evidence.losses, alone.losses)
