"""Siamese comparison: the map that pairs teach, one shot, and p(same) beside the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.manifest import HEAD
from models.runtime import open_session
from tests.training_support import Bench, blobs, names_of
from training import fit
from training.fit import Outcome
from training.methods import METHODS
from training.methods.base import Problem

SIAMESE = METHODS["siamese"]


def answers(problem: Problem, X: np.ndarray, **given: object) -> np.ndarray:
    grid = SIAMESE.info.hyperparameters.model_validate(given).grid(problem)[:1]
    return SIAMESE.fit(problem, grid)[0].head.logits(X)


def noisy(per_class: int, seed: int) -> Problem:
    """Five classes along small coordinates beside a loud one that says nothing of the class."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(5), per_class)
    X = np.eye(5, 6)[y] + 0.1 * rng.normal(size=(len(y), 6))
    X[:, 5] = 3 * rng.normal(size=len(y))
    return Problem(X.astype(np.float32), y, "classification", tuple("abcde"), seed)


def test_pairs_teach_which_differences_mean_nothing() -> None:
    learn, test = noisy(5, 0), noisy(40, 1)
    plain = (answers(learn, test.X, shrinkage=1).argmax(axis=1) == test.y).mean()
    learnt = (answers(learn, test.X, shrinkage=0.05).argmax(axis=1) == test.y).mean()
    assert plain < 0.8
    assert learnt > 0.95


def test_one_example_a_class_is_the_cosine() -> None:
    problem = noisy(1, 0)
    unit = problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True)
    np.testing.assert_allclose(answers(problem, problem.X), 10 * unit @ unit.T, atol=1e-5)


def test_references_are_capped_evenly() -> None:
    problem = noisy(10, 0)
    grid = SIAMESE.info.hyperparameters.model_validate({"references": 12}).grid(problem)
    nearest, mean = SIAMESE.fit(problem, grid)
    assert sorted(np.bincount(nearest.head.owner)) == [2, 2, 2, 3, 3]  # type: ignore[attr-defined]
    assert (nearest.setting["references"], mean.setting["references"]) == (12, 5)


def job(tmp_path: Path, problem: Problem, **given: object) -> Outcome:
    bench = Bench(tmp_path)
    spec = bench.spec("classification", names_of(problem), problem.X, method="siamese", hyperparameters=given)
    return fit.run(spec, lambda event: None)


def test_the_model_says_of_each_class_whether_it_is_the_same(tmp_path: Path) -> None:
    problem = blobs("classification")
    outcome = job(tmp_path, problem)
    manifest, metrics = outcome.manifest, outcome.report.metrics
    (same,) = manifest.outputs
    assert (same.name, same.task, same.labels) == ("same", "multilabel", problem.labels)
    assert (manifest.head.out_dim, manifest.head.activation) == (6, "identity")
    assert metrics["equal_error_rate"] <= 0.05
    assert metrics["false_accept_rate"] == manifest.hyperparameters["false_accept_rate"]
    assert 0 < float(manifest.hyperparameters["threshold"] or 0) < 1
    stranger = np.full((1, 6), -3, np.float32)
    X = np.concatenate([problem.X, stranger])
    (found,) = open_session((tmp_path / "output" / HEAD).read_bytes()).run(None, {"features": X})
    own, p_same = (found[:, columns] for columns in manifest.columns)
    assert (own[:-1].argmax(axis=1) == problem.y).all()
    assert ((p_same[:-1] >= 0.5) == (problem.targets > 0)).mean() > 0.95
    assert not (p_same[-1] >= 0.5).any()


def test_fewer_false_accepts_raise_the_threshold(tmp_path: Path) -> None:
    problem = blobs("classification")
    problem = replace(
        problem, X=problem.X + np.random.default_rng(3).normal(0, 1.2, problem.X.shape).astype("f4")
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    usual, strict = (
        job(tmp_path / name, problem, **given) for name, given in (("a", {}), ("b", {"false_accepts": 0}))
    )
    assert strict.report.metrics["false_accept_rate"] == 0
    assert strict.report.metrics["false_reject_rate"] > usual.report.metrics["false_reject_rate"]
    assert usual.report.metrics["equal_error_rate"] == pytest.approx(
        strict.report.metrics["equal_error_rate"]
    )


def test_one_shot_says_that_nothing_was_judged(tmp_path: Path) -> None:
    outcome = job(tmp_path, blobs("classification", per_class=1))
    assert outcome.manifest.outputs == ()
    assert any("no threshold" in warning for warning in outcome.report.warnings)
    assert b'"outputs"' not in outcome.manifest.canonical()
