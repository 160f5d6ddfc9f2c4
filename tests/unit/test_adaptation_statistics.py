"""Second moments and the moves made of them, against hand-written arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from training.adaptation.moves import affine, recolouring
from training.adaptation.statistics import covariance, power, principal_axes
from training.adaptation.transport import gaussian_map


def sample(n: int, dim: int, seed: int) -> np.ndarray:
    """Correlated rows away from the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


def test_covariance_is_the_biased_one_plus_a_share_of_the_mean_variance() -> None:
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    np.testing.assert_allclose(covariance(rows, 0.0), [[1, 0], [0, 4]])
    np.testing.assert_allclose(covariance(rows, 2.0), [[1 + 5, 0], [0, 4 + 5]])


def test_powers_multiply() -> None:
    C = covariance(sample(50, 4, 0), 0.1)
    np.testing.assert_allclose(power(C, 0.5) @ power(C, 0.5), C, atol=1e-10)
    np.testing.assert_allclose(power(C, -0.5) @ C @ power(C, -0.5), np.eye(4), atol=1e-10)


def test_power_leaves_directions_without_variance_alone() -> None:
    np.testing.assert_allclose(power(np.diag([4.0, 0.0]), -0.5), np.diag([0.5, 0.0]))


def test_recoloured_source_has_the_targets_moments() -> None:
    source, target = sample(80, 5, 1), sample(60, 5, 2)
    move = affine(source.mean(axis=0), target.mean(axis=0), recolouring(source, target, 1e-9))
    moved = np.asarray(move(source))
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(covariance(moved, 0.0), covariance(target, 0.0), rtol=1e-4, atol=1e-6)


def test_gaussian_map_carries_one_covariance_to_the_other_and_is_symmetric() -> None:
    S, T = covariance(sample(80, 4, 3), 0.0), covariance(sample(80, 4, 4), 0.0)
    A = gaussian_map(S, T)
    np.testing.assert_allclose(A @ S @ A, T, atol=1e-8)
    np.testing.assert_allclose(A, A.T, atol=1e-10)


def test_gaussian_map_in_one_dimension_is_the_ratio_of_deviations() -> None:
    np.testing.assert_allclose(gaussian_map(np.array([[4.0]]), np.array([[9.0]])), [[1.5]])


@pytest.mark.parametrize(
    ("n", "dim", "asked", "found"), [(30, 5, 3, 3), (30, 5, 9, 5), (4, 50, 9, 3), (1, 3, 2, 1)]
)
def test_principal_axes_are_orthonormal_and_as_many_as_there_are(
    n: int, dim: int, asked: int, found: int
) -> None:
    axes = principal_axes(sample(n, dim, 5), asked)
    assert axes.shape == (dim, found)
    np.testing.assert_allclose(axes.T @ axes, np.eye(found), atol=1e-10)


def test_first_axis_is_that_of_greatest_variance() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 5.0, 0.1]
    assert abs(principal_axes(rows, 1)[1, 0]) > 0.99
