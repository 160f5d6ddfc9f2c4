"""Metrics against hand-written arithmetic and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, r2_score

from training import metrics


def test_jeffreys_matches_published_values() -> None:
    # Brown, Cai, DasGupta 2001, table 5: n = 10, x = 3 gives 0.093 to 0.606.
    low, high = metrics.jeffreys(3, 10)
    assert (round(low, 3), round(high, 3)) == (0.093, 0.606)
    assert metrics.jeffreys(0, 10)[0] == 0
    assert metrics.jeffreys(10, 10)[1] == 1


def test_confusion_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    np.testing.assert_array_equal(metrics.confusion(truth, predicted, 4), confusion_matrix(truth, predicted))


def test_regression_by_hand() -> None:
    found = metrics.regression_metrics(np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [4.0], [5.0]]))
    assert found["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert found["mae"] == pytest.approx(1)
    assert found["r2"] == pytest.approx(r2_score([1, 2, 6], [1, 4, 5]))
    assert "r2" not in metrics.regression_metrics(np.ones((2, 1)), np.zeros((2, 1)))


def test_multilabel_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    truth, probabilities = rng.integers(0, 2, (30, 4)).astype(float), rng.random((30, 4))
    found, predicted = metrics.multilabel_metrics(truth, probabilities), probabilities > 0.5
    assert found["micro_f1"] == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert found["subset_accuracy"] == pytest.approx((truth == predicted).all(axis=1).mean())


def test_calibration_error_by_hand() -> None:
    # Bin 0.5-0.6: two at 0.6, half right; bin 0.9-1.0: two at 1.0, all right. (2 * 0.1 + 0) / 4.
    table = metrics.reliability(np.array([0.6, 0.6, 1.0, 1.0]), np.array([1, 0, 1, 1]))
    assert [(b, n) for b, n, _, _ in table] == [(5, 2), (9, 2)]
    assert metrics.calibration_error(table) == pytest.approx(0.05)


@pytest.mark.parametrize(("n", "rank"), [(10, 10), (19, 19), (99, 95), (200, 191)])
def test_conformal_half_width_is_the_stated_order_statistic(n: int, rank: int) -> None:
    residuals = np.random.default_rng(0).permutation(np.arange(1, n + 1)) * np.resize([1, -1], n)
    assert metrics.conformal_half_width(residuals) == rank
