"""Ridge regression against scikit-learn, and how its penalty is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from models.base import TaskName
from tests.training_support import blobs
from training.frame import Frame
from training.heads import scores
from training.methods import METHODS
from training.methods.base import Problem
from training.spectrum import Spectrum

RIDGE = METHODS["ridge"]


def random_problem(n: int, dim: int, seed: int = 1) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dim)).astype(np.float32) + 2
    return Problem(X, X[:, :2] @ rng.normal(size=(2, 2)) + rng.normal(size=(n, 2)), "regression", ("a", "b"))


@pytest.mark.parametrize(("n", "dim"), [(30, 4), (8, 20)])
def test_values_are_those_of_scikit_learn(n: int, dim: int) -> None:
    problem = random_problem(n, dim)
    expected = Ridge(alpha=0.7).fit(problem.X.astype(np.float64), problem.y).predict(problem.X)
    fitted = RIDGE.fit(problem, [{"penalty": 0.7}])[0]
    np.testing.assert_allclose(scores(fitted.head, problem.X), expected, atol=1e-6)


@pytest.mark.parametrize(("n", "rule"), [(50, "best_penalty"), (20, "likeliest_penalty")])
def test_auto_is_left_out_error_of_many_and_evidence_of_few(n: int, rule: str) -> None:
    problem = random_problem(n, 5)
    spectrum = Spectrum.of_rows(problem.X - problem.X.mean(axis=0), problem.targets)
    chosen = float(RIDGE.fit(problem, [{"penalty": "auto"}])[0].setting["penalty"])  # type: ignore[arg-type]
    expected = getattr(spectrum, rule)()  # on powers of ten; evidence is searched more finely
    assert expected / 5 < chosen < expected * 5


def test_evidence_is_the_safer_guide_with_ten_examples() -> None:
    X, y = load_diabetes(return_X_y=True)
    by_evidence, by_left_out = [], []
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(len(y))
        few, rest = rows[:10], rows[10:]
        frame = Frame.of(X[few])
        problem = Problem(frame.enter(X[few]), y[few, None], "regression", ("value",))
        spectrum = Spectrum.of_rows(problem.X - problem.X.mean(axis=0), problem.targets)
        for penalty, errors in (("auto", by_evidence), (spectrum.best_penalty(), by_left_out)):
            found = RIDGE.fit(problem, [{"penalty": penalty}])[0].head.logits(frame.enter(X[rest]))
            errors.append(float(((found[:, 0] - y[rest]) ** 2).mean()))
    assert np.mean(by_evidence) < 0.95 * np.mean(by_left_out)


def test_one_feature_by_hand() -> None:
    # Centred: x = -1, 1 and y = -2, 2; w = xy / (xx + lambda) = 4 / (2 + 2) = 1, and b = 3 - 1 * 1.
    problem = Problem(np.array([[0], [2]], np.float32), np.array([[1.0], [5.0]]), "regression", ("value",))
    head = RIDGE.fit(problem, [{"penalty": 2.0}])[0].head
    np.testing.assert_allclose(head.weight, [[1.0]])
    np.testing.assert_allclose(head.bias, [2.0])


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_scores_separate_the_classes(task: TaskName) -> None:
    problem = blobs(task)
    answers = scores(RIDGE.fit(problem, [{"penalty": "auto"}])[0].head, problem.X)
    np.testing.assert_array_equal(answers > 0.5, problem.targets > 0.5)
