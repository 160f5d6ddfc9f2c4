"""Scores of features against brute force and other people's code, and the order they give."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import Ridge

from models.base import TaskName
from models.fitspec import BackboneChoice
from tests.training_support import blobs
from training.methods.base import Problem
from training.relatedness.adistance import proxy_a_distance
from training.relatedness.hscore import h_score, ledoit_wolf
from training.relatedness.leave_one_out import left_out, scored
from training.relatedness.logme import logme
from training.relatedness.rank import rank, spectrum_of
from training.relatedness.sample import sample
from training.source import Source
from training.spectrum import PENALTIES, Spectrum

SHAPES = [(12, 3), (6, 20), (30, 30)]


def rows(n: int, dim: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Centred rows of unit mean square norm."""
    X = np.random.default_rng(seed).normal(size=(n, dim)) * np.linspace(0.2, 2, dim)
    X -= X.mean(axis=0)
    return X / np.sqrt((X**2).sum(axis=1).mean())


def evidence_by_hand(X: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """The maximum over a and b of log N(y; 0, I / b + X X^T / a), orthogonal to the intercept."""
    basis = np.linalg.svd(np.eye(len(y)) - 1 / len(y))[0][:, :-1]
    gram, target = basis.T @ X @ X.T @ basis, basis.T @ (y - y.mean())

    def surprise(logs: np.ndarray[Any, Any]) -> float:
        a, b = np.exp(np.clip(logs, -12, 12))  # its supremum may lie at infinity
        covariance = np.eye(len(target)) / b + gram / a
        return -float(multivariate_normal.logpdf(target, cov=covariance))

    starts = [(np.log(a), np.log(b)) for a in (0.01, 1, 100) for b in (0.1, 1, 10)]
    return -min(minimize(surprise, start, method="Nelder-Mead").fun for start in starts)


@pytest.mark.parametrize(("n", "dim"), SHAPES)
def test_logme_is_the_maximum_of_the_evidence(n: int, dim: int) -> None:
    rng = np.random.default_rng(1)
    X = rows(n, dim)
    y = X @ rng.normal(size=dim) + 0.3 * rng.normal(size=n)
    alone = -0.5 * (n - 1) * (1 + np.log(2 * np.pi * ((y - y.mean()) ** 2).sum() / (n - 1)))
    expected = (evidence_by_hand(X, y) - alone) / (n - 1)
    assert logme(Spectrum.of_rows(X, y[:, None])) == pytest.approx(expected, abs=2e-3)


def test_logme_is_zero_where_features_say_nothing() -> None:
    X = rows(40, 4)
    noise = np.random.default_rng(2).normal(size=(40, 1))
    explained = X @ (np.linalg.pinv(X) @ noise)
    assert logme(Spectrum.of_rows(X, noise - explained)) == pytest.approx(0, abs=1e-6)
    assert logme(Spectrum.of_rows(X, np.ones((40, 2)))) == 0
    assert logme(Spectrum.of_rows(X, X[:, :1])) > 1


def test_logme_neither_knows_the_unit_of_the_target_nor_an_empty_one() -> None:
    X = rows(20, 5)
    y = X[:, :1] + 0.1 * np.random.default_rng(0).normal(size=(20, 1))
    once = logme(Spectrum.of_rows(X, y))
    assert logme(Spectrum.of_rows(X, 1000 * y + 7)) == pytest.approx(once)
    assert logme(Spectrum.of_rows(X, np.hstack([y, np.ones_like(y)]))) == pytest.approx(once)


def by_definition(X: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """tr((shrunk cov)^-1 (1 - shrinkage) cov(E[x | y])), with sklearn's shrinkage."""
    dim, shrinkage = X.shape[1], ledoit_wolf_shrinkage(X, assume_centered=True)
    spread = np.cov(X.T, bias=True).reshape(dim, dim)
    shrunk = (1 - shrinkage) * spread + shrinkage * np.trace(spread) / dim * np.eye(dim)
    means = np.stack([X[y == label].mean(axis=0) for label in y])
    between = means.T @ means / len(X)
    return float(np.trace(np.linalg.solve(shrunk, (1 - shrinkage) * between)))


@pytest.mark.parametrize(("n", "dim"), SHAPES)
def test_h_score_is_its_definition(n: int, dim: int) -> None:
    X, y = rows(n, dim), np.arange(n) % 3
    spectrum = Spectrum.of_rows(X, np.eye(3)[y])
    assert ledoit_wolf(spectrum, dim) == pytest.approx(ledoit_wolf_shrinkage(X, assume_centered=True))
    assert h_score(spectrum, dim) == pytest.approx(by_definition(X, y))


def test_h_score_is_near_its_most_where_classes_are_apart() -> None:
    problem = blobs("classification", per_class=100)
    assert 1.8 < h_score(spectrum_of(problem), 6) < 2  # of three classes: two


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_leave_one_out_is_what_refitting_gives(task: TaskName) -> None:
    problem = blobs(task, per_class=4)
    problem = Problem(
        problem.X + np.random.default_rng(3).normal(size=problem.X.shape).astype(np.float32),
        problem.y,
        task,
        problem.labels,
    )
    spectrum = spectrum_of(problem)
    centred = problem.X - problem.X.mean(axis=0)
    Z, penalty = centred / np.sqrt((centred**2).sum(axis=1).mean()), spectrum.best_penalty()
    assert penalty in PENALTIES
    keep = ~np.eye(len(Z), dtype=bool)
    fits = (Ridge(alpha=penalty).fit(Z[rest], problem.targets[rest]) for rest in keep)
    predicted = np.stack([fit.predict(row[None]).reshape(-1) for fit, row in zip(fits, Z, strict=True)])
    found = left_out(problem, spectrum)
    assert found is not None
    assert found.n == len(problem)
    if task == "classification":
        assert (found.metric, found.value) == ("accuracy", np.mean(predicted.argmax(axis=1) == problem.y))
    elif task == "regression":
        rmse = np.sqrt(((predicted - problem.targets) ** 2).mean())
        assert (found.metric, found.value) == ("rmse", pytest.approx(rmse, rel=1e-6))
    else:
        said, true = predicted > 0.5, problem.targets > 0.5
        f1 = 2 * (said & true).sum() / (said.sum() + true.sum())
        assert (found.metric, found.value) == ("micro_f1", pytest.approx(f1))


def test_a_class_of_one_example_is_not_scored() -> None:
    X = rows(5, 2).astype(np.float32)
    lonely = Problem(X, np.array([0, 0, 1, 1, 2]), "classification", ("a", "b", "c"))
    assert scored(lonely).tolist() == [True, True, True, True, False]
    assert left_out(lonely.take(np.array([0, 2, 4])), spectrum_of(lonely.take(np.array([0, 2, 4])))) is None
    marks = Problem(X, np.array([[1, 1], [1, 0], [0, 0], [0, 0], [0, 0.0]]), "multilabel", ("a", "b"))
    assert scored(marks).tolist() == [True] * 5


def test_the_a_distance_of_one_domain_is_near_0_and_of_two_near_2() -> None:
    rng = np.random.default_rng(0)
    one, same, far = rng.normal(size=(80, 6)), rng.normal(size=(50, 6)), rng.normal(3, 1, size=(50, 6))
    near = proxy_a_distance(one, same)
    apart = proxy_a_distance(one, far)
    assert near is not None
    assert apart is not None
    assert near.value <= 2 * near.error
    assert apart.value == pytest.approx(2, abs=0.1)
    assert proxy_a_distance(one, far) == apart
    assert proxy_a_distance(one[:4], same) is None


def test_the_a_distance_follows_the_overlap() -> None:
    """Normals a distance s apart: the best boundary errs with probability Phi(-s / 2)."""
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(2000, 1)), rng.normal(1, 1, size=(500, 1))
    found = proxy_a_distance(source, target)
    assert found is not None
    assert found.value == pytest.approx(2 * (1 - 2 * 0.3085), abs=3 * found.error)
    assert found.error < 0.06


def sources(problem: Problem, *taps: str, baseline: bool = False) -> list[Source]:
    """The problem under several taps, each noisier than the one before."""
    name = "image/raw" if baseline else "image/net"
    choice = BackboneChoice(id=name, digest=name, folder="nowhere", taps=taps, baseline=baseline)
    noise = np.random.default_rng(0).normal(size=problem.X.shape).astype(np.float32)
    return [
        Source(choice, tap, Problem(problem.X + 2 * i * noise, problem.y, problem.task, problem.labels))
        for i, tap in enumerate(taps)
    ]


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_the_clearest_features_come_first(task: TaskName) -> None:
    found = rank(sources(blobs(task), "good", "fair", "bad")[::-1], {"image/net": "bad"})
    assert [candidate.tap for candidate in found] == ["good", "fair", "bad"]
    assert all(candidate.score == candidate.logme for candidate in found)
    assert all((candidate.h_score is None) == (task != "classification") for candidate in found)
    values = [candidate.loo.value for candidate in found if candidate.loo]
    assert values == sorted(values, reverse=task != "regression")
    assert all(candidate.seconds > 0 for candidate in found)


def test_without_a_second_example_the_order_is_the_backbones_own() -> None:
    problem = blobs("classification", per_class=1)
    given = [*sources(problem, "raw", baseline=True), *sources(problem, "low", "top")]
    found = rank(given, {"image/net": "top", "image/raw": "raw"})
    assert [(c.backbone, c.tap, c.score) for c in found] == [
        ("image/net", "top", None),
        ("image/net", "low", None),
        ("image/raw", "raw", None),
    ]


def test_a_sample_keeps_what_is_rare() -> None:
    labels = ["rare"] * 3 + ["often"] * 500 + ["common"] * 100
    taken = sample(labels, 50, seed=1)
    counts = {name: sum(labels[row] == name for row in taken) for name in set(labels)}
    assert counts == {"rare": 3, "often": 24, "common": 23} or counts == {
        "rare": 3,
        "often": 23,
        "common": 24,
    }
    assert taken == sorted(set(taken)) == sample(labels, 50, seed=1) != sample(labels, 50, seed=2)
    assert sample(labels[:9], 9) == list(range(9))
    many = [f"class {row % 500}" for row in range(3000)]
    kept = [many[row] for row in sample(many, 40)]
    assert {kept.count(name) for name in set(kept)} == {4}
    for names in (labels, many):
        parts = [set(sample(names, most, seed=3)) for most in (32, 64, 128, 256)]
        assert all(small < large for small, large in pairwise(parts))
    values = sample([float(i) for i in range(1000)], 100)
    assert len(values) == 100
    assert 400 < np.mean(values) < 600
