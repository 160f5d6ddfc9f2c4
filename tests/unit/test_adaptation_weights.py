"""Density ratios against a known one, and their worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.adaptation.weights import (
    classifier_odds,
    effective_sample_size,
    kernel_mean_matching,
    kliep,
)

Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]
estimators = pytest.mark.parametrize("estimate", [kernel_mean_matching, kliep, classifier_odds])


def gaussians(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source N(0, 1), target N(1, 1), and p_t / p_s = exp(x - 1/2) at the source."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(n, 1)), rng.normal(1, 1, size=(n, 1))
    return source, target, np.exp(source[:, 0] - 0.5)


@estimators
def test_known_ratio_is_recovered(estimate: Estimator) -> None:
    source, target, ratio = gaussians()
    weights = estimate(source, target)
    assert weights.shape == (len(source),)
    assert (weights >= 0).all()
    assert weights.mean() == pytest.approx(1)
    assert np.corrcoef(weights, ratio)[0, 1] > 0.8
    assert (weights * source[:, 0]).mean() == pytest.approx(1, abs=0.25)  # the target's mean


@estimators
def test_same_domain_gives_nearly_equal_weights(estimate: Estimator) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 2))
    assert effective_sample_size(estimate(rows, rng.normal(size=(300, 2)))) > 150


@estimators
@pytest.mark.parametrize(("n", "m", "dim"), [(1, 1, 3), (2, 1, 5), (3, 40, 20), (40, 2, 60)])
def test_few_rows_of_many_dimensions_stay_finite(estimate: Estimator, n: int, m: int, dim: int) -> None:
    rng = np.random.default_rng(2)
    weights = estimate(rng.normal(size=(n, dim)), rng.normal(size=(m, dim)))
    assert np.isfinite(weights).all()
    assert weights.mean() == pytest.approx(1)


def test_matched_means_in_feature_space() -> None:
    source, target, _ = gaussians(150)
    weights = kernel_mean_matching(source, target)

    def gap(w: np.ndarray) -> float:
        def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.exp(-((a - b.T) ** 2))

        share = w / w.sum()
        return float(share @ k(source, source) @ share - 2 * (share @ k(source, target)).mean())

    assert gap(weights) < gap(np.ones(len(source)))


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size(np.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert effective_sample_size(np.array([3.0, 1.0])) == pytest.approx(1.6)
