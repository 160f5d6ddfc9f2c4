"""One eigendecomposition for every penalty, against refits and against the Gaussian density itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import Ridge

from training.spectrum import Spectrum, centred_gram

Array = np.ndarray


def drawn(n: int, dim: int, seed: int = 1) -> tuple[Array, Array]:
    """Centred rows, and targets that hang on them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dim))
    return X - X.mean(axis=0), X[:, :2] @ rng.normal(size=(2, 2)) + rng.normal(size=(n, 2)) + 3


@pytest.mark.parametrize(("n", "dim"), [(12, 3), (7, 15)])
def test_leave_one_out_formula_is_leaving_one_out(n: int, dim: int) -> None:
    X, y = drawn(n, dim)
    formula = Spectrum.of_rows(X, y).leave_one_out(0.5)
    for row in range(n):
        rest = np.arange(n) != row
        model = Ridge(alpha=0.5).fit(X[rest], y[rest])
        np.testing.assert_allclose(formula[row], model.predict(X[row : row + 1])[0], atol=1e-9)


@pytest.mark.parametrize(("n", "dim"), [(30, 4), (8, 20)])
def test_dual_coefficients_make_the_ridge_weights(n: int, dim: int) -> None:
    X, y = drawn(n, dim)
    dual = Spectrum.of_rows(X, y).dual(0.7)
    np.testing.assert_allclose(dual.T @ X, Ridge(alpha=0.7).fit(X, y).coef_, atol=1e-9)


def test_rows_and_their_gram_matrix_say_the_same() -> None:
    X, y = drawn(6, 10)
    by_rows, by_gram = Spectrum.of_rows(X, y), Spectrum.of_gram(X @ X.T, y)
    np.testing.assert_allclose(by_rows.leave_one_out(0.1), by_gram.leave_one_out(0.1), atol=1e-9)
    np.testing.assert_allclose(centred_gram((X + 5) @ (X + 5).T), X @ X.T, atol=1e-9)


@pytest.mark.parametrize(("n", "dim"), [(10, 3), (5, 9)])
def test_surprise_is_the_gaussian_density_at_the_best_variance(n: int, dim: int) -> None:
    # Contrasts leave the free intercept out: n - 1 coordinates orthogonal to the ones.
    X, y = drawn(n, dim)
    contrasts = np.linalg.qr(np.c_[np.ones(n), np.eye(n)[:, : n - 1]])[0][:, 1:]

    def density(penalty: float) -> float:
        covariance = contrasts.T @ (X @ X.T + penalty * np.eye(n)) @ contrasts
        total = 0.0
        for column in (contrasts.T @ y).T:
            variance = column @ np.linalg.solve(covariance, column) / (n - 1)
            total += multivariate_normal.logpdf(column, cov=variance * covariance)
        return -2 * total

    spectrum = Spectrum.of_rows(X, y)
    ours = spectrum.surprise(0.3) - spectrum.surprise(5.0)
    assert ours == pytest.approx(density(0.3) - density(5.0), rel=1e-6)


def test_penalties_are_the_best_of_those_offered() -> None:
    spectrum = Spectrum.of_rows(*drawn(20, 5))
    offered = (0.01, 0.1, 1.0, 10.0, 100.0)
    errors = [((spectrum.leave_one_out(p) - spectrum.targets) ** 2).sum() for p in offered]
    assert spectrum.best_penalty(offered) == offered[int(np.argmin(errors))]
    assert spectrum.likeliest_penalty(offered) == min(offered, key=spectrum.surprise)


def test_pure_noise_asks_for_the_strongest_penalty() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    noise = rng.normal(size=(30, 1))
    X = X - X.mean(axis=0)
    noise -= X @ np.linalg.lstsq(X, noise)[0]  # nothing in it is linear in X
    spectrum = Spectrum.of_rows(X, noise)
    assert spectrum.best_penalty((0.1, 10.0, 1000.0)) == 1000.0
    assert spectrum.likeliest_penalty((0.1, 10.0, 1000.0)) == 1000.0
