"""Out-of-fold evidence and what is claimed from it."""

from __future__ import annotations

import numpy as np
import pytest

from models.base import TaskName
from tests.training_support import blobs
from training import metrics
from training.evaluate import cross_validate, estimate
from training.folds import make_folds
from training.heads import AffineHead
from training.methods import METHODS
from training.methods.base import Fitted, Problem, Setting
from training.reporting import calibration, class_reports, confusion, guess_baseline, warnings


class Memory:
    """Answers with the class of the identical training row, and with class 0 when it has not seen it."""

    info = METHODS["knn"].info

    def fit(self, problem: Problem, grid: list[Setting], *, rough: bool = False) -> list[Fitted]:
        weight = np.zeros((len(problem.labels), problem.X.shape[1]))
        for x, y in zip(problem.X, problem.y, strict=True):
            weight[y] = np.maximum(weight[y], x)
        bias = np.zeros(len(weight))
        bias[0] = 0.5
        return [Fitted(AffineHead(weight, bias, "softmax"), setting) for setting in grid]


def evidence_of(problem: Problem, name: str = "ridge") -> object:
    method = METHODS[name]
    grid = method.info.hyperparameters().grid(problem)[:1]
    return cross_validate(method, problem, grid, make_folds(problem))[0]


def test_rows_are_predicted_by_heads_that_never_saw_them() -> None:
    # Every row is its own axis: a memory is perfect on what it saw and always says class 0 otherwise.
    problem = Problem(np.eye(12, dtype=np.float32), np.arange(12) % 3, "classification", ("a", "b", "c"))
    seen = Memory().fit(problem, [{}])[0].head.logits(problem.X).argmax(axis=1)
    np.testing.assert_array_equal(seen, problem.y)
    evidence = cross_validate(Memory(), problem, [{}], make_folds(problem))[0]
    np.testing.assert_array_equal(evidence.logits.argmax(axis=1), 0)
    assert evidence.value == pytest.approx(1 / 3)


def test_accuracy_interval_is_jeffreys_at_half_the_examples() -> None:
    problem = blobs("classification", per_class=10)
    folds = make_folds(problem)
    evidence = evidence_of(problem)
    found = estimate(evidence, folds, 10)
    assert (found.low, found.high) == metrics.jeffreys(found.value * 15, 15)
    assert found.n == 30
    assert not found.insufficient_evidence


@pytest.mark.parametrize("per_class", [1, 2])
def test_one_or_two_shots_claim_no_interval(per_class: int) -> None:
    problem = blobs("classification", per_class=per_class)
    found = estimate(evidence_of(problem), make_folds(problem), per_class)
    assert found.insufficient_evidence
    assert (found.low, found.high) == (None, None)
    assert (found.value is None) == (per_class == 1)
    assert "example" in found.how


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_intervals_hold_the_value_and_repeat(task: TaskName) -> None:
    problem = blobs(task, per_class=10)
    found, again = (estimate(evidence_of(problem), make_folds(problem), 10) for _ in range(2))
    assert found.low <= found.value <= found.high
    assert found == again


def test_reports_agree_with_the_confusion_matrix() -> None:
    problem = blobs("classification", per_class=6)
    muddled = Problem(problem.X, np.roll(problem.y, 2), problem.task, problem.labels)
    evidence = evidence_of(muddled)
    matrix = np.array(confusion(evidence).matrix)
    assert matrix.sum() == 18
    for c, row in enumerate(class_reports(muddled, evidence)):
        assert row.support == matrix[c].sum() == row.examples
        assert row.recall == pytest.approx(matrix[c, c] / matrix[c].sum())
        assert row.precision == pytest.approx(matrix[c, c] / matrix[:, c].sum())
    assert evidence.value == pytest.approx(np.trace(matrix) / 18)


def test_many_classes_show_the_most_confused_pairs() -> None:
    problem = blobs("classification", per_class=2, classes=52, dim=60)
    muddled = Problem(problem.X, np.roll(problem.y, 1), problem.task, problem.labels)
    found = confusion(evidence_of(muddled))
    assert found.matrix is None
    assert 0 < len(found.pairs) <= 20
    assert all(truth != predicted and count > 0 for truth, predicted, count in found.pairs)


def test_calibration_counts_every_prediction() -> None:
    evidence = evidence_of(blobs("multilabel"))
    found = calibration(evidence)
    assert sum(b.count for b in found.bins) == evidence.scores.size
    assert 0 <= found.ece <= 1
    assert calibration(evidence_of(blobs("regression"))) is None


def test_guess_baselines_by_hand() -> None:
    y = np.array([[0.0], [3.0], [6.0]])
    regression = Problem(np.zeros((3, 1), np.float32), y, "regression", ("value",))
    # Left out one by one the means are 4.5, 3 and 1.5: errors 4.5, 0 and 4.5.
    assert guess_baseline(regression).value == pytest.approx(np.sqrt(2 * 4.5**2 / 3))
    classes = Problem(np.zeros((4, 1), np.float32), np.array([0, 0, 0, 1]), "classification", ("a", "b"))
    assert guess_baseline(classes).value == 0.75


def test_beaten_model_and_lonely_class_are_warned_of() -> None:
    problem = blobs("classification", per_class=6)
    shuffled = np.random.default_rng(3).permutation(problem.y)
    lonely = Problem(
        problem.X, np.where(np.arange(18) == 0, 3, shuffled), problem.task, (*problem.labels, "d")
    )
    better = guess_baseline(lonely).model_copy(update={"name": "oracle", "value": 1.0})
    found = warnings(lonely, evidence_of(lonely), [better])
    assert any("Only one example of d" in text for text in found)
    assert any("oracle" in text for text in found)
