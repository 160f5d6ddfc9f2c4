"""Logistic heads of all folds at once are those that each fold would have had alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.base import TaskName
from training.folds import make_folds
from training.frame import Frame
from training.heldout import hold_out, hold_out_each
from training.methods import METHODS
from training.methods.base import Problem
from training.together import few, minimise_each

GRID = [{"C": 10.0}, {"C": 0.1}, {"C": 100.0}]


def problem(task: TaskName, n: int, classes: int = 4) -> Problem:
    draw = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = draw.normal(size=(n, 30)) + 0.5 * draw.normal(size=(classes, 30))[y]
    labels = tuple(map(str, range(classes)))
    if task == "multilabel":
        y = (draw.random((n, classes)) < 0.4).astype(float)
    return Problem(Frame.of(X).enter(X), y, task, labels)


@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize(("n", "divisions"), [(24, 1), (60, 3)], ids=["leave one out", "three deals"])
def test_folds_at_once_give_what_they_give_alone(task: TaskName, n: int, divisions: int) -> None:
    known = problem(task, n)
    folds = make_folds(known.take(np.arange(n - 4))).extended(4)  # the last rows are always learnt from
    asked = (folds, *folds.repeats)
    assert len(asked) == divisions
    found = hold_out_each(METHODS["logistic"], known, GRID, asked)
    for logits, division in zip(found, asked, strict=True):
        alone = hold_out(METHODS["logistic"], known, GRID, division)
        np.testing.assert_allclose(logits, alone, atol=1e-6)
        assert not logits[:, -4:].any()


def test_many_rows_are_fitted_fold_after_fold() -> None:
    many = problem("classification", 300)
    folds = make_folds(many)
    assert not few(many)
    found = hold_out_each(METHODS["logistic"], many, GRID[:1], (folds,))
    np.testing.assert_array_equal(found[0], hold_out(METHODS["logistic"], many, GRID[:1], folds))


def test_each_function_ends_at_its_own_minimum() -> None:
    """Quadratics of unlike curvature, one of which begins where it ends."""
    draw = np.random.default_rng(1)
    bends, ends = draw.uniform(0.2, 5, size=(6, 3, 2)), draw.normal(size=(6, 3, 2))
    start = np.zeros_like(ends)
    start[:, 1] = ends[:, 1]

    def objective(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.5 * (bends * (x - ends) ** 2).sum(axis=(0, 2)), bends * (x - ends)

    found = minimise_each(objective, start, 1e-8)
    np.testing.assert_allclose(found, ends, atol=1e-7)
    np.testing.assert_array_equal(found[:, 1], ends[:, 1])
