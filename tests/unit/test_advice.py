"""Which examples are worth most: checked where the answer is known."""

from __future__ import annotations

import numpy as np

from tests.training_support import blobs
from training.advice import MORE, advice
from training.evaluate import Evidence, cross_validate
from training.folds import make_folds
from training.methods import METHODS
from training.methods.base import Problem

CENTRES = np.array([[0.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 2.5, 0.0]])  # a and c are alike, b is not
NAMES = ("a", "b", "c")


def sample(counts: tuple[int, ...], rng: np.random.Generator) -> Problem:
    y = np.repeat(np.arange(3), counts)
    return Problem((CENTRES[y] + rng.normal(size=(len(y), 3))).astype(np.float32), y, "classification", NAMES)


def evidence_of(problem: Problem) -> Evidence:
    method = METHODS["ridge"]
    grid = method.info.hyperparameters().grid(problem)[:1]
    return cross_validate(method, problem, grid, make_folds(problem))[0]


def right(problem: Problem, fresh: Problem) -> float:
    """Mean over the classes of the share of right answers on fresh examples."""
    method = METHODS["ridge"]
    head = method.fit(problem, method.info.hyperparameters().grid(problem)[:1])[0].head
    hits = head.logits(fresh.X).argmax(axis=1) == fresh.y
    return float(np.mean([hits[fresh.y == c].mean() for c in range(3)]))


def test_the_rare_class_that_is_mistaken_comes_first_and_more_of_it_does_help_most() -> None:
    rng = np.random.default_rng(0)
    fresh = sample((400, 400, 400), rng)
    gains, named = np.zeros(3), []
    for _ in range(8):
        problem = sample((30, 30, 4), rng)
        found = advice(problem, evidence_of(problem))
        named += [found[0].split()[3]] if found else []
        for c in range(3):
            more = sample(tuple(MORE * (c == other) for other in range(3)), rng)
            joined = Problem(
                np.concatenate([problem.X, more.X]),
                np.concatenate([problem.y, more.y]),
                "classification",
                NAMES,
            )
            gains[c] += right(joined, fresh) - right(problem, fresh)
    assert gains.argmax() == 2
    assert len(named) >= 7
    assert named.count("c") >= 0.8 * len(named)


def test_the_sentence_says_what_was_seen() -> None:
    y = np.array([0, 0, 0, 1, 1, 1])
    problem = Problem(np.zeros((6, 1), np.float32), y, "classification", ("cat", "dog"))
    evidence = Evidence({}, problem, np.eye(2)[[0, 0, 1, 1, 1, 1]], 1.0)
    assert advice(problem, evidence)[0] == (
        "5 more of cat are worth most: 1 of 3 were missed, and 0 others taken for it."
    )


def test_a_class_that_could_not_be_tested_is_asked_for() -> None:
    y = np.array([0, 0, 0, 1, 1, 1, 2])
    problem = Problem(np.eye(7, dtype=np.float32), y, "classification", NAMES)
    evidence = Evidence({}, problem.take(y < 2), np.eye(3)[y[:6]], 1.0)
    assert advice(problem, evidence) == ("5 more of c are worth most: its only example could not be tested.",)


def test_no_mistakes_and_no_classes_need_no_advice() -> None:
    easy = blobs("classification")
    assert advice(easy, evidence_of(easy)) == ()
    numbers = blobs("regression")
    assert advice(numbers, Evidence({}, numbers, numbers.targets, 1.0)) == ()
