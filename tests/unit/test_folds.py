"""Who is held out when."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training_support import blobs
from training.folds import make_folds
from training.methods.base import Problem


def of_classes(*sizes: int) -> Problem:
    y = np.repeat(np.arange(len(sizes)), sizes)
    return Problem(np.zeros((len(y), 1), np.float32), y, "classification", tuple(map(str, range(len(sizes)))))


@pytest.mark.parametrize(
    ("sizes", "count"), [((5, 5), 5), ((2, 2, 2), 2), ((40, 30), 10), ((300, 200), 5), ((2, 18), 18)]
)
def test_number_of_folds(sizes: tuple[int, ...], count: int) -> None:
    assert make_folds(of_classes(*sizes)).count == count


@pytest.mark.parametrize("sizes", [(5, 5, 5), (2, 30), (3, 200, 7)])
def test_every_row_is_held_out_once_and_every_class_stays_learnable(sizes: tuple[int, ...]) -> None:
    problem = of_classes(*sizes)
    folds = make_folds(problem)
    held_out = np.zeros(len(problem), int)
    for learn, predict in folds:
        assert not (learn & predict).any()
        assert len(np.unique(problem.y[learn])) == len(sizes)
        held_out += predict
    np.testing.assert_array_equal(held_out, 1)


def test_single_example_is_learnt_from_and_never_held_out() -> None:
    folds = make_folds(of_classes(1, 4))
    np.testing.assert_array_equal(folds.tested, [1, 2, 3, 4])
    assert all(learn[0] for learn, _ in folds)


def test_one_shot_has_no_folds() -> None:
    folds = make_folds(of_classes(1, 1, 1))
    assert folds.count == 0
    assert list(folds) == []


def test_few_values_are_left_out_one_by_one() -> None:
    problem = blobs("regression", per_class=4)
    assert [int(predict.sum()) for _, predict in make_folds(problem)] == [1] * 12


def test_only_positive_of_a_label_is_always_learnt_from() -> None:
    marks = np.zeros((6, 2))
    marks[:, 0] = 1
    marks[3, 1] = 1
    problem = Problem(np.zeros((6, 1), np.float32), marks, "multilabel", ("common", "rare"))
    assert 3 not in make_folds(problem).tested


def test_seed_decides_the_folds() -> None:
    first, again, other = (make_folds(blobs("classification", seed=s)).fold for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
