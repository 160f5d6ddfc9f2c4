"""Features without the noise: the map by hand, and the job on signals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.signal_jobs import Fitted, SignalJobs, write_raw
from training.methods.base import Problem
from training.signals.denoise import Recipe, fit_denoised, fit_plain


def loud(n: int, seed: int) -> tuple[Problem, np.ndarray]:
    """A value in the first column and a copy of it in the second, of which noise hits the second alone."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=n)
    X = np.stack([value, value, 0.1 * rng.normal(size=n)], axis=1).astype(np.float32)
    noisy = np.stack([X + np.array([0, 3, 0]) * rng.normal(size=(n, 1)) for _ in range(6)]).astype(np.float32)
    return Problem(X, value[:, None], "regression", ("value",), seed), noisy


@pytest.mark.parametrize("from_copies", [False, True])
def test_the_head_looks_where_noise_is_not(from_copies: bool) -> None:
    problem, noisy = loud(60, 0)
    plain = fit_plain(problem)
    (head,) = fit_denoised(problem, noisy, [Recipe(0.01, from_copies)])
    np.testing.assert_allclose(plain.weight[0, :2], 0.5, atol=0.05)
    assert abs(head.weight[0, 1]) < 0.1
    np.testing.assert_allclose(head.logits(problem.X), problem.y, atol=0.3)


def test_without_noise_nothing_changes() -> None:
    problem, _ = loud(60, 0)
    (head,) = fit_denoised(problem, problem.X[None], [Recipe(0.1, False)])
    np.testing.assert_allclose(head.logits(problem.X), fit_plain(problem).logits(problem.X), atol=1e-3)


def waves(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Clean signals of two widths."""
    rng = np.random.default_rng(seed)
    t, place, width = (
        np.linspace(0, 1, 40),
        rng.uniform(0.4, 0.6, (n, 1)),
        np.where(np.arange(n) % 2, 0.05, 0.08),
    )
    return np.exp(-(((t - place) / width[:, None]) ** 2)), ["narrow" if i % 2 else "wide" for i in range(n)]


def run(root: Path, **hyperparameters: float) -> Fitted:
    root.mkdir()
    jobs = SignalJobs(root, [write_raw(root)], taps={"signal/raw": ("raw",)})
    training = jobs.store("classification", *waves(24, 0))
    return jobs.run("classification", training, method="siamese_denoise", hyperparameters=hyperparameters)


def test_a_job_reports_what_noise_costs_before_and_after(tmp_path: Path) -> None:
    fitted = run(tmp_path / "a", noise=0.15)
    metrics = fitted.report.metrics
    names = {f"robustness_{when}_{times}x" for when in ("before", "after") for times in (0, 1, 2)}
    assert names <= set(metrics)
    assert metrics["robustness_after_0x"] == metrics["accuracy"]
    assert fitted.manifest.head.kind == "affine"
    assert fitted.manifest.hyperparameters["noise"] == 0.15
    x, labels = waves(60, 1)
    noisy = x + 0.15 * np.random.default_rng(2).normal(size=x.shape)
    right = [fitted.manifest.labels[c] for c in fitted.answers(noisy).argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(right, labels, strict=True)]) > 0.75
    again = run(tmp_path / "b", noise=0.15)
    assert again.manifest.digest == fitted.manifest.digest


def test_noise_is_measured_where_it_is_not_given(tmp_path: Path) -> None:
    clean = run(tmp_path / "a")
    x, _ = waves(24, 0)
    spread = float(np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).mean()))
    assert clean.manifest.hyperparameters["noise"] == pytest.approx(0.05 * spread, rel=1e-3)
    jobs = SignalJobs(tmp_path / "a", [tmp_path / "a" / "raw"], taps={"signal/raw": ("raw",)})
    measured = x + 0.2 * np.random.default_rng(5).normal(size=x.shape)
    fitted = jobs.run(
        "classification",
        jobs.store("classification", *waves(24, 0)),
        method="siamese_denoise",
        unlabelled_pack=jobs.store("classification", measured, [None] * 24),
    )
    assert fitted.manifest.hyperparameters["noise"] == pytest.approx(0.2, rel=0.25)
