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


def test_middling_numbers_are_dealt_several_times() -> None:
    few, some, many = (make_folds(of_classes(n, n)) for n in (15, 40, 200))
    assert (len(few.repeats), len(some.repeats), len(many.repeats)) == (0, 2, 0)
    deals = [some.fold.tolist(), *(again.fold.tolist() for again in some.repeats)]
    assert len({tuple(deal) for deal in deals}) == 3
    assert all(again.count == some.count for again in some.repeats)
    assert all(len(again.fold) == 83 for again in some.extended(3).repeats)


def test_part_tests_at_least_so_many_rows() -> None:
    folds = make_folds(of_classes(300, 300))
    part = folds.part(200)
    assert 200 <= len(part.tested) < 400
    assert part.count == 2
    np.testing.assert_array_equal(part.fold[part.tested], folds.fold[part.tested])
    assert folds.part(600) is folds


def two_domains(source: int, target: int, task: str = "classification") -> Problem:
    """Rows of two classes a domain, the source's first."""
    y = np.concatenate([np.arange(source) % 2, np.arange(target) % 2])
    values = y if task == "classification" else y[:, None].astype(float)
    marks = np.arange(len(y)) >= source
    return Problem(np.zeros((len(y), 1), np.float32), values, task, ("a", "b"), in_target=marks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target", "task", "judged"),
    [
        (20, 6, "classification", "target"),
        (20, 5, "classification", "source"),
        (0, 4, "classification", "target"),
        (20, 10, "regression", "target"),
        (20, 9, "regression", "source"),
    ],
)
def test_one_domain_is_judged_by(source: int, target: int, task: str, judged: str) -> None:
    problem = two_domains(source, target, task)
    expected = np.flatnonzero(problem.in_target == (judged == "target"))
    folds = make_folds(problem)
    np.testing.assert_array_equal(folds.tested, expected)
    assert all(not predict[np.setdiff1d(np.arange(len(problem)), expected)].any() for _, predict in folds)


def test_repeats_are_of_the_judged_domain_too() -> None:
    folds = make_folds(two_domains(300, 60))
    assert folds.repeats
    for again in folds.repeats:
        np.testing.assert_array_equal(again.tested, np.arange(300, 360))
