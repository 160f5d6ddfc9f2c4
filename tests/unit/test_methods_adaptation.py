"""The methods of domain adaptation: their formulas, what they are for, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from models.runtime import open_session
from tests.training_support import blobs
from training.adaptation.statistics import covariance, principal_axes
from training.heads import scores
from training.methods import METHODS
from training.methods.base import Fitted, Problem

ALIGNERS = ["coral", "metric_transform", "optimal_transport", "self_training", "subspace_alignment"]
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]


def fit(name: str, problem: Problem, **given: Any) -> Fitted:
    info = METHODS[name].info
    return METHODS[name].fit(problem, info.hyperparameters(**given).grid(problem)[:1])[0]


def accuracy(fitted: Fitted, X: np.ndarray, y: np.ndarray) -> float:
    return float((fitted.head.logits(X).argmax(axis=1) == y).mean())


def shifted(per_class: int = 20) -> tuple[Problem, np.ndarray]:
    """Source blobs and a target of the same classes, moved by more than they lie apart; its labels."""
    source, there = blobs("classification", per_class), blobs("classification", per_class, seed=1)
    offset = np.array([2.5, -2.5, 2.5, 0, 0, 0], np.float32)
    return replace(source, target=there.X + offset), there.y


@pytest.mark.parametrize("classifier", ["linear", "nearest"])
@pytest.mark.parametrize("name", ALIGNERS)
def test_shift_that_ruins_the_source_is_undone(name: str, classifier: str) -> None:
    problem, y = shifted()
    assert problem.target is not None
    plain = METHODS["logistic"].fit(problem, [{"C": 10.0}])[0]
    assert accuracy(plain, problem.target, y) < 0.7
    assert accuracy(fit(name, problem, classifier=classifier), problem.target, y) > 0.95


@pytest.mark.parametrize("name", [*ALIGNERS, "importance_weighting"])
@pytest.mark.parametrize("classifier", ["linear", "nearest"])
def test_more_dimensions_than_examples_on_both_sides(name: str, classifier: str) -> None:
    problem = blobs("classification", 2, dim=50)
    problem = replace(problem, target=blobs("classification", 1, dim=50, seed=1).X)
    fitted = fit(name, problem, classifier=classifier)
    assert fitted.head.finite()
    answers = open_session(fitted.head.to_onnx()).run(None, {"features": problem.X})[0]
    np.testing.assert_allclose(answers, scores(fitted.head, problem.X), atol=1e-4)


@pytest.mark.parametrize("name", [*ALIGNERS, "importance_weighting"])
def test_without_a_target_there_is_nothing_to_adapt_to(name: str) -> None:
    with pytest.raises(JobFailed) as refused:
        fit(name, blobs("classification"))
    assert refused.value.code == "no_unlabelled_data"


@pytest.mark.parametrize("name", ALIGNERS)
def test_labelled_target_rows_are_learnt_from(name: str) -> None:
    """Source labels say the opposite of the target's for two classes; the target's few labels prevail."""
    source, there = blobs("classification", 4), blobs("classification", 30, seed=1)
    wrong = np.array([1, 0, 2])[source.y]
    rows = np.concatenate([np.flatnonzero(there.y == c)[:12] for c in range(3)])
    X, y = np.concatenate([source.X, there.X[rows]]), np.concatenate([wrong, there.y[rows]])
    marks = np.arange(len(X)) >= len(source)
    problem = Problem(X, y, "classification", source.labels, 0, there.X, marks)
    alone = replace(problem.take(~marks), in_target=None)
    given = {"classifier": "linear", "C": 100.0}
    assert accuracy(fit(name, problem, **given), there.X, there.y) > accuracy(
        fit(name, alone, **given), there.X, there.y
    )


def test_classifier_that_a_task_has_not_is_refused() -> None:
    problem = replace(blobs("multilabel"), target=blobs("multilabel").X)
    with pytest.raises(JobFailed) as refused:
        fit("coral", problem, classifier="nearest")
    assert refused.value.code == "bad_hyperparameters"


def test_coral_gives_held_out_source_rows_the_targets_covariance() -> None:
    problem, _ = shifted(60)
    assert problem.target is not None
    problem = replace(problem, target=(problem.target @ TURN * [1, 2, 3, 1, 1, 1]).astype(np.float32))
    assert problem.target is not None
    alignment = fit("coral", problem, regularisation=1e-6).alignment
    assert alignment is not None
    moved = np.asarray(alignment.move(problem.X))
    expected = covariance(problem.target.astype(np.float64), 0.0)
    np.testing.assert_allclose(covariance(moved, 0.0), expected, atol=1e-3 * np.abs(expected).max())


def test_coral_of_means_is_a_shift() -> None:
    problem, _ = shifted()
    assert problem.target is not None
    alignment = fit("coral", problem, moments="mean").alignment
    assert alignment is not None
    shift = problem.target.mean(axis=0) - problem.X.mean(axis=0)
    np.testing.assert_allclose(alignment.move(problem.X), problem.X + shift, atol=1e-6)


def test_subspace_alignment_is_the_papers_formula() -> None:
    problem, _ = shifted()
    assert problem.target is not None
    X, T = problem.X.astype(np.float64), problem.target.astype(np.float64)
    P_s, P_t = principal_axes(X, 3), principal_axes(T, 3)
    alignment = fit("subspace_alignment", problem, dimensions=3).alignment
    assert alignment is not None
    found = (np.asarray(alignment.move(X)) - T.mean(axis=0)) @ P_t
    np.testing.assert_allclose(found, (X - X.mean(axis=0)) @ P_s @ P_s.T @ P_t, atol=1e-6)


def test_subspace_neighbours_are_those_of_projected_rows() -> None:
    problem, _ = shifted()
    assert problem.target is not None
    X, T = problem.X.astype(np.float64), problem.target.astype(np.float64)
    P_s, P_t = principal_axes(X, 2), principal_axes(T, 2)
    ours, theirs = (X - X.mean(axis=0)) @ P_s @ P_s.T @ P_t, (T - T.mean(axis=0)) @ P_t
    nearest = ((theirs[:, None] - ours) ** 2).sum(axis=2).argmin(axis=1)
    head = fit("subspace_alignment", problem, dimensions=2, classifier="nearest").head
    np.testing.assert_array_equal(head.logits(T).argmax(axis=1), problem.y[nearest])


def test_transported_rows_lie_among_the_target() -> None:
    problem, _ = shifted()
    assert problem.target is not None
    alignment = fit("optimal_transport", problem).alignment
    assert alignment is not None
    moved = np.asarray(alignment.move(problem.X))
    assert (moved >= problem.target.min(axis=0) - 1e-6).all()
    assert (moved <= problem.target.max(axis=0) + 1e-6).all()


def test_importance_weights_undo_a_biased_selection() -> None:
    """A line fitted to a curve: where the target lies is what it has to be right about."""
    rng = np.random.default_rng(0)
    x, there = rng.normal(1, 0.5, (300, 1)), rng.normal(2, 0.25, (300, 1))
    y = np.sinc(x) + 0.1 * rng.normal(size=x.shape)
    problem = Problem(x, y, "regression", ("value",), 0, there)
    fitted = fit("importance_weighting", problem)
    plain = METHODS["ridge"].fit(problem, [{"penalty": "auto"}])[0]
    errors = [float(((f.head.logits(there) - np.sinc(there)) ** 2).mean()) for f in (plain, fitted)]
    assert errors[1] < 0.05 * errors[0]
    assert 1 < float(fitted.setting["effective_sample_size"]) < 150


@pytest.mark.parametrize("weights", ["kmm", "kliep", "odds"])
def test_each_estimator_of_weights_can_be_named(weights: str) -> None:
    problem, _ = shifted()
    assert fit("importance_weighting", problem, weights=weights).setting["weights"] == weights


def test_metric_says_where_its_pairs_come_from() -> None:
    problem, _ = shifted()
    assert fit("metric_transform", problem).setting["pairs"] == "pseudo"
    marked = replace(problem, in_target=np.arange(len(problem)) % 4 == 0)
    assert fit("metric_transform", marked).setting["pairs"] == "labelled"


@pytest.mark.parametrize("name", [*ALIGNERS, "importance_weighting"])
def test_target_that_is_the_source_changes_nothing_much(name: str) -> None:
    problem = blobs("classification", 10)
    problem = replace(problem, target=problem.X)
    assert accuracy(fit(name, problem), problem.X, problem.y) > 0.95


@pytest.mark.parametrize("name", [*ALIGNERS, "importance_weighting"])
def test_rows_that_are_all_alike_are_survived(name: str) -> None:
    problem = blobs("classification", 3)
    still = replace(problem, X=np.zeros_like(problem.X), target=np.zeros((4, 6), np.float32))
    assert fit(name, still).head.finite()


def two_domains(shots: int, *, misleading: bool) -> tuple[Problem, Problem]:
    """A source that agrees with the target or names its classes wrongly; and the target's test rows."""
    source, there = blobs("classification", 20), blobs("classification", 40, seed=1)
    rows = np.concatenate([np.flatnonzero(there.y == c)[:shots] for c in range(3)])
    y = (source.y + 1) % 3 if misleading else source.y
    X, y = np.concatenate([source.X, there.X[rows]]), np.concatenate([y, there.y[rows]])
    marks = np.arange(len(X)) >= len(source)
    return Problem(X, y, "classification", source.labels, 0, None, marks), there


@pytest.mark.parametrize("shots", [1, 5])
def test_misleading_source_is_left_out(shots: int) -> None:
    problem, there = two_domains(shots, misleading=True)
    fitted = fit("guarded_pooling", problem)
    assert float(fitted.setting["pooled_share"]) < 0.1
    assert accuracy(fitted, there.X, there.y) > 0.9


def test_agreeing_source_joins_in() -> None:
    fitted = fit("guarded_pooling", two_domains(1, misleading=False)[0])
    assert fitted.setting["pooled_share"] == 1.0


@pytest.mark.parametrize("marks", [None, np.ones(24, bool)])
def test_guarded_pooling_needs_both_domains(marks: np.ndarray | None) -> None:
    with pytest.raises(JobFailed) as refused:
        fit("guarded_pooling", replace(blobs("classification"), in_target=marks))
    assert refused.value.code == "no_target_labels"
