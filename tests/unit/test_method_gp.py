"""Gaussian process regression against scikit-learn, and the kernel that the evidence prefers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from models.manifest import HEAD
from models.runtime import open_session
from tests.training_support import Bench
from training.fit import run
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


def test_a_gp_model_serves_an_interval_that_covers(tmp_path: Path) -> None:
    """Of 95 %, from 44 examples; on 6 draws of a curve whose noise is known, with a kernel that suits it."""
    kernel = {"gamma": 1.0, "linear": 0.0, "noise": 0.1}
    covered, widths = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(444, 2)).astype(np.float32)
        y = np.sin(2 * X[:, 0].astype(np.float64)) + 0.3 * rng.normal(size=len(X))
        root = tmp_path / str(seed)
        root.mkdir()
        labels = [float(v) for v in y[:44]]
        spec = Bench(root).spec("regression", labels, X[:44], method="gp", hyperparameters=kernel)
        half = run(spec, lambda event: None).manifest.interval
        assert half is not None
        head = open_session((Path(spec.output) / HEAD).read_bytes())
        answers = head.run(None, {"features": X[44:]})[0][:, 0]
        covered.append(float((np.abs(answers - y[44:]) <= half).mean()))
        widths.append(half)
    assert 0.90 <= np.mean(covered) <= 0.995
    assert 1.0 < np.mean(widths) / (1.96 * 0.3) < 3.0  # it does not cover by saying nothing


def test_too_few_numbers_claim_no_interval(tmp_path: Path) -> None:
    X = np.arange(12, dtype=np.float32).reshape(6, 2)
    spec = Bench(tmp_path).spec(
        "regression", [1.0, 2.0, 4.0, 3.0, 5.0, 6.0], X, method="gp", hyperparameters={"gamma": 1.0}
    )
    assert run(spec, lambda event: None).manifest.interval is None
