"""The rules of auto that need no fitting."""

from __future__ import annotations

import numpy as np
import pytest

from models.base import ModalityName, TaskName
from models.fitspec import BackboneChoice
from tests.training_support import blobs
from training.evaluate import Evidence, make_evidence
from training.methods import METHODS
from training.methods.base import Problem
from training.portfolio import REFERENCE, deep_methods, names_speak, rivals, worth_replacing
from training.source import Source


def of_size(n: int, classes: int = 2) -> Problem:
    return Problem(
        np.zeros((n, 1), np.float32),
        np.arange(n) % classes,
        "classification",
        tuple(f"c{c}" for c in range(classes)),
    )


def answers(share_right: float, n: int, *, seed: int = 0) -> Evidence:
    """Evidence with so many of two classes right, the first ones."""
    problem = of_size(n)
    right = np.arange(n) < share_right * n
    logits = np.where(right[:, None], problem.targets, 1 - problem.targets) * 2.0
    return make_evidence({}, problem, [logits])


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_all_who_stand_serve_the_task(task: TaskName) -> None:
    for name in [REFERENCE[task], *rivals(blobs(task))]:
        assert task in METHODS[name].info.tasks
        assert not METHODS[name].info.needs


def test_costly_methods_stay_out_of_large_problems() -> None:
    assert "krr" in rivals(of_size(100))
    assert {"krr", "knn"}.isdisjoint(rivals(of_size(3000)))
    assert "lda" in rivals(of_size(3000))


@pytest.mark.parametrize(
    ("modality", "n", "right", "budget", "first"),
    [
        ("text", 300, 0.5, 120, None),  # too few
        ("text", 500, 0.5, 120, "finetune"),
        ("text", 500, 0.95, 120, None),  # good enough frozen
        ("text", 500, 0.5, 30, None),  # no time
        ("text", 3000, 0.95, 600, "finetune"),
        ("text", 3000, 0.95, 30, None),
        ("image", 4000, 0.5, 1000, None),  # never seen to win
        ("audio", 5000, 0.5, 1000, None),
        ("signal", 5000, 0.5, 1000, None),
    ],
)
def test_deep_methods_want_data_and_time(
    modality: ModalityName, n: int, right: float, budget: float, first: str | None
) -> None:
    found = deep_methods(of_size(n), modality, answers(right, n), budget)
    assert (found[0] if found else None) == first


def test_texts_need_eight_of_each_class() -> None:
    assert not deep_methods(of_size(420, 60), "text", answers(0.5, 420), 300)
    assert deep_methods(of_size(480, 60), "text", answers(0.5, 480), 300)


@pytest.mark.parametrize(
    ("before", "after", "n", "worth"),
    [
        (0.80, 0.90, 200, True),
        (0.80, 0.80, 200, False),
        (0.800, 0.805, 2000, False),  # certain, but less than a point
        (0.8, 0.9, 10, True),  # one answer of ten: exactly one standard error
        (0.9, 0.8, 200, False),
    ],
)
def test_replacing_takes_a_point_and_a_standard_error(
    before: float, after: float, n: int, worth: bool
) -> None:
    assert worth_replacing(answers(after, n), answers(before, n)) == worth


def test_regression_is_compared_by_its_error() -> None:
    problem = blobs("regression")
    noise = np.random.default_rng(0).normal(size=problem.targets.shape)
    near, nearer, far = (make_evidence({}, problem, [problem.targets + s * noise]) for s in (1.0, 0.999, 2.0))
    assert worth_replacing(near, far)
    assert not worth_replacing(nearer, near)
    assert not worth_replacing(far, near)


def text_source(classes: int, telling: bool, seed: int = 0) -> Source:
    rng = np.random.default_rng(seed)
    names = rng.normal(size=(classes, 20)).astype(np.float32)
    X = (names if telling else rng.normal(size=names.shape)) + 0.5 * rng.normal(size=names.shape)
    labels = tuple(f"c{c}" for c in range(classes))
    problem = Problem(X.astype(np.float32), np.arange(classes), "classification", labels)
    return Source(BackboneChoice(id="b", digest="d", folder="nowhere", taps=("top",)), "top", problem, names)


@pytest.mark.parametrize("classes", [6, 30])
def test_names_that_tell_speak_and_others_do_not(classes: int) -> None:
    assert names_speak(text_source(classes, telling=True))
    assert not any(names_speak(text_source(classes, telling=False, seed=seed)) for seed in range(20))


def test_two_classes_are_too_few_to_hear_names() -> None:
    # Both right is what chance does every fourth time.
    assert not names_speak(text_source(2, telling=True))
