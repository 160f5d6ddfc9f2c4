"""Basis regression as a job: from points of one curve to the artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from models.manifest import SignalGrid
from tests.signal_jobs import SignalJobs, write_raw

NEW = np.linspace(-5, 5, 101)[:, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def jobs(tmp_path: Path, folder: Path) -> SignalJobs:
    return SignalJobs(tmp_path, [folder])


def sine(x: np.ndarray) -> list[float]:
    return [float(v) for v in 2 * np.sin(x[:, 0] + 1)]


def points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-5, 5, (n, 1))


def curves(jobs: SignalJobs, low: float = -5, high: float = 5) -> str:
    rng = np.random.default_rng(3)
    at = np.linspace(low, high, 120)
    values = rng.uniform(0.1, 5, (60, 1)) * np.sin(at + rng.uniform(0, np.pi, (60, 1)))
    grid = SignalGrid(length=120, lo=low, hi=high)
    return jobs.store("regression", values, [None] * 60, grid)


def run(jobs: SignalJobs, x: np.ndarray, y: list[float], source: str | None = None, **given: Any) -> Any:
    if source is not None:
        given["source_file"] = "file-curves"
    extras = {} if source is None else {"file-curves": source}
    training = jobs.store("regression", x, y)
    return jobs.run(
        "regression", training, method="basis_regression", hyperparameters=given, extra_packs=extras
    )


def test_five_points_of_a_curve_of_a_known_kind(jobs: SignalJobs) -> None:
    x = points(5)
    found = run(jobs, x, sine(x), curves(jobs))
    assert np.abs(found.answers(NEW)[:, 0] - sine(NEW)).max() < 0.02
    assert found.manifest.hyperparameters["basis"] == "learned"
    assert found.manifest.hyperparameters["coefficients"] == 2
    assert (found.manifest.backbone.id, found.manifest.tap) == ("signal/raw", "raw")
    assert found.report.estimate.value < 0.02
    assert found.report.setting == "few-shot"


@pytest.mark.parametrize("basis", ["auto", "fourier", "splines"])
def test_twenty_points_of_any_smooth_curve(jobs: SignalJobs, basis: str) -> None:
    x = points(20, seed=4)
    found = run(jobs, x, sine(x), basis=basis)
    inside = (x.min() <= NEW) & (x.max() >= NEW)
    assert np.abs(found.answers(NEW)[:, 0] - sine(NEW))[inside[:, 0]].max() < 0.25
    assert found.report.estimate.value < 0.5


def test_two_inputs_add_up(jobs: SignalJobs) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    found = run(jobs, x, [float(v) for v in np.sin(3 * x[:, 0]) + x[:, 1] ** 2])
    new = np.random.default_rng(1).uniform(-0.8, 0.8, (50, 2))
    np.testing.assert_allclose(found.answers(new)[:, 0], np.sin(3 * new[:, 0]) + new[:, 1] ** 2, atol=0.1)


def test_given_settings_are_kept(jobs: SignalJobs) -> None:
    x = points(12)
    found = run(jobs, x, sine(x), basis="fourier", coefficients=3, period=2 * np.pi, noise=0.01)
    kept = found.manifest.hyperparameters
    assert (kept["coefficients"], kept["period"]) == (3, pytest.approx(2 * np.pi))
    assert kept["noise"] == pytest.approx(0.01)
    assert np.abs(found.answers(NEW)[:, 0] - sine(NEW)).max() < 0.05


def test_examples_beyond_the_curves_are_warned_of(jobs: SignalJobs) -> None:
    x = np.array([[-4.0], [-1.0], [0.0], [1.0], [4.0]])
    found = run(jobs, x, sine(x), curves(jobs, -2, 2))
    assert any("2 of 5 examples lie outside" in text for text in found.report.warnings)


@pytest.mark.parametrize(
    ("x", "given", "code"),
    [
        (points(5), {"coefficients": 6}, "too_many_coefficients"),
        (points(5), {"basis": "learned"}, "no_source_curves"),
        (np.ones((5, 1)), {}, "constant_input"),
        (np.random.default_rng(0).normal(size=(5, 17)), {}, "too_many_inputs"),
    ],
)
def test_what_cannot_be_done_is_refused(
    jobs: SignalJobs, x: np.ndarray, given: dict[str, Any], code: str
) -> None:
    with pytest.raises(JobFailed) as failure:
        run(jobs, x, [float(v) for v in range(5)], **given)
    assert failure.value.code == code


def test_curves_need_a_single_input(jobs: SignalJobs) -> None:
    with pytest.raises(JobFailed) as failure:
        run(jobs, np.random.default_rng(0).normal(size=(5, 2)), [1.0, 2, 3, 4, 5], curves(jobs))
    assert failure.value.code == "too_many_inputs"


def test_without_the_baseline_it_says_so(jobs: SignalJobs) -> None:
    x = points(5)
    (choice,) = jobs.choices()
    with pytest.raises(JobFailed) as failure:
        jobs.run(
            "regression",
            jobs.store("regression", x, sine(x)),
            method="basis_regression",
            backbones=(choice.model_copy(update={"id": "signal/other"}),),
        )
    assert failure.value.code == "no_raw_backbone"
