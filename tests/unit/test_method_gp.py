"""Gaussian process regression against scikit-learn, and the kernel that the evidence prefers."""

from __future__ import annotations

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from training.heads import scores
from training.kernel import median_distance, squared_distances
from training.methods import METHODS
from training.methods.base import Problem

GP = METHODS["gp"]
AUTO = {"gamma": "auto", "linear": "auto", "noise": "auto"}


def drawn(n: int = 30, *, straight: bool) -> Problem:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2)).astype(np.float32)
    values = X[:, :1].astype(np.float64) if straight else np.sin(3 * X[:, :1].astype(np.float64))
    return Problem(X, values + 0.05 * rng.normal(size=(n, 1)), "regression", ("value",))


def test_posterior_mean_is_scikit_learns() -> None:
    # Its prior mean is fixed, ours is free: a wide constant kernel comes to the same.
    problem = drawn(straight=False)
    unit = median_distance(squared_distances(problem.X, problem.X))
    smooth = ConstantKernel(0.75) * RBF(np.sqrt(unit / 2))
    line = ConstantKernel(0.25) * DotProduct(1e-3)
    model = GaussianProcessRegressor(ConstantKernel(1e6) + smooth + line, alpha=0.1, optimizer=None)
    model.fit(problem.X.astype(np.float64), problem.y[:, 0])
    queries = np.random.default_rng(1).normal(size=(9, 2))
    head = GP.fit(problem, [{"gamma": 1.0, "linear": 0.25, "noise": 0.1}])[0].head
    np.testing.assert_allclose(scores(head, queries)[:, 0], model.predict(queries), atol=1e-4)


def test_evidence_knows_a_line_from_a_curve() -> None:
    line = GP.fit(drawn(straight=True), [dict(AUTO)])[0].setting
    curve = GP.fit(drawn(straight=False), [dict(AUTO)])[0].setting
    assert float(line["linear"]) >= 0.9 > float(curve["linear"])  # type: ignore[arg-type]


def test_noise_is_found() -> None:
    problem = drawn(100, straight=True)
    rng = np.random.default_rng(2)
    loud = Problem(problem.X, problem.y + 2 * rng.normal(size=problem.y.shape), "regression", ("value",))
    quiet, noisy = (GP.fit(p, [dict(AUTO)])[0].setting["noise"] for p in (problem, loud))
    assert float(noisy) > 30 * float(quiet)  # type: ignore[arg-type]
