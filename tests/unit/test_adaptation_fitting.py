"""The two domains of a problem, the weights of their rows, and the heads fitted on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import JobFailed
from models.runtime import open_session
from tests.training_support import blobs
from training.adaptation.domains import part, pooled_weights
from training.adaptation.nearest import nearest_head
from training.adaptation.weighted_ridge import WeightedRidge
from training.frame import Frame
from training.heads import activate, scores
from training.methods.base import Alignment


def test_labelled_rows_of_the_target_count_as_target() -> None:
    problem = replace(blobs("classification", 2), target=np.ones((4, 6)), in_target=np.arange(6) == 1)
    domains = part(problem)
    np.testing.assert_array_equal(domains.source, problem.X[[0, 2, 3, 4, 5]])
    np.testing.assert_array_equal(domains.y, problem.y[[0, 2, 3, 4, 5]])
    np.testing.assert_array_equal(domains.labelled, problem.X[[1]])
    np.testing.assert_array_equal(domains.ty, problem.y[[1]])
    np.testing.assert_array_equal(domains.unlabelled, np.ones((4, 6)))


@pytest.mark.parametrize(
    ("marks", "code"), [(None, "no_unlabelled_data"), (np.ones(6, bool), "no_source_data")]
)
def test_missing_domain_is_refused(marks: np.ndarray | None, code: str) -> None:
    with pytest.raises(JobFailed) as refused:
        part(replace(blobs("classification", 2), in_target=marks))
    assert refused.value.code == code


def test_target_rows_weigh_half_of_the_source() -> None:
    marks = np.array([False] * 8 + [True] * 2)
    weights = pooled_weights(marks)
    assert weights.mean() == pytest.approx(1)
    assert weights[marks].sum() == pytest.approx(0.5 * weights[~marks].sum())


def test_source_weights_keep_their_ratios() -> None:
    weights = pooled_weights(np.array([False, False, True]), np.array([3.0, 1.0]))
    assert weights[0] == pytest.approx(3 * weights[1])
    assert weights[2] == pytest.approx(0.5 * (weights[0] + weights[1]))


def test_only_source_rows_are_moved() -> None:
    problem = replace(blobs("classification", 1), in_target=np.array([True, False, True]))
    moved = Alignment(lambda rows: rows + 1).moved(problem)
    np.testing.assert_array_equal(moved.X - problem.X, [[0] * 6, [1] * 6, [0] * 6])


def weighted_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 3))
    return X, X @ rng.normal(size=(3, 2)) + 0.3 * rng.normal(size=(12, 2)) + 4, rng.uniform(0.1, 3, 12)


def test_weighted_ridge_solves_its_normal_equations() -> None:
    X, Y, w = weighted_rows()
    share = w / w.sum()
    weight, bias = WeightedRidge.of(X, Y, w).solve(0.2)
    residual = X @ weight.T + bias - Y
    np.testing.assert_allclose((share[:, None] * residual).T @ X + 0.2 * weight, 0, atol=1e-12)
    np.testing.assert_allclose(share @ residual, 0, atol=1e-12)


def test_weight_of_two_is_a_row_twice() -> None:
    X, Y, _ = weighted_rows()
    weight, bias = WeightedRidge.of(X, Y, np.r_[2.0, np.ones(11)]).solve(0.1)
    twice = WeightedRidge.of(np.r_[X[:1], X], np.r_[Y[:1], Y], np.ones(13)).solve(0.1)
    np.testing.assert_allclose(weight, twice[0], atol=1e-10)
    np.testing.assert_allclose(bias, twice[1], atol=1e-10)


def test_leave_one_out_error_is_that_of_refits() -> None:
    X, Y, w = weighted_rows()
    share, total = w / w.sum(), 0.0
    for row in range(len(X)):
        kept = np.arange(len(X)) != row
        rest = share[kept].sum()  # the penalty stays the same beside the other rows' own weights
        weight, bias = WeightedRidge.of(X[kept], Y[kept], w[kept]).solve(0.2 / rest)
        total += share[row] * float(((X[row] @ weight.T + bias - Y[row]) ** 2).sum())
    assert WeightedRidge.of(X, Y, w).left_out_error(0.2) == pytest.approx(total)


def test_nearest_head_is_the_one_nearest_neighbour_rule() -> None:
    problem = blobs("classification", 4)
    queries = np.random.default_rng(3).normal(size=(50, 6)) * 2
    distances = ((queries[:, None] - problem.X) ** 2).sum(axis=2)
    answers = nearest_head(problem).logits(queries).argmax(axis=1)
    np.testing.assert_array_equal(answers, problem.y[distances.argmin(axis=1)])


def test_nearest_head_measures_in_its_view() -> None:
    problem = blobs("classification", 4)
    view = np.random.default_rng(4).normal(size=(6, 2))
    queries = np.random.default_rng(3).normal(size=(50, 6)) * 2
    distances = (((queries[:, None] - problem.X) @ view) ** 2).sum(axis=2)
    answers = nearest_head(problem, view).logits(queries).argmax(axis=1)
    np.testing.assert_array_equal(answers, problem.y[distances.argmin(axis=1)])


def test_nearest_heads_graph_agrees_far_from_its_frame() -> None:
    raw = blobs("classification")
    X = 40 * raw.X + 300
    frame = Frame.of(X)
    inside = nearest_head(replace(raw, X=frame.enter(X)))
    head = inside.scaled(1.7).lifted(frame)
    answers = open_session(head.to_onnx()).run(None, {"features": X})[0]
    np.testing.assert_allclose(answers, scores(head, X), atol=1e-4)
    expected = activate("softmax", inside.scaled(1.7).logits(frame.enter(X)))
    np.testing.assert_allclose(answers, expected, atol=1e-3)
    assert head.finite()
