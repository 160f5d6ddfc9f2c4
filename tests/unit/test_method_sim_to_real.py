"""Simulation to reality as a job: a few measured signals correct what the simulator taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from tests.signal_jobs import Fitted, SignalJobs, write_raw
from tests.simulated import simulated
from training.signals.calibrate import Instrument

TRUE = Instrument(shift=0.03, broadening=0.02, gain=1.4, offset=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def jobs(tmp_path: Path, folder: Path) -> SignalJobs:
    return SignalJobs(tmp_path, [folder])


def measured(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = simulated(n, seed)
    return TRUE.apply(x) + 0.01 * np.random.default_rng(seed).standard_normal(x.shape), y


def run(jobs: SignalJobs, shots: int, unlabelled: int = 0, **given: Any) -> Fitted:
    x, y = simulated(150, 0)
    real, real_y = measured(shots + unlabelled, 7)
    labels = [float(v) for v in real_y[:shots, 0]] + [None] * unlabelled
    return jobs.run(
        "regression",
        jobs.store("regression", x, [float(v) for v in y[:, 0]]),
        unlabelled_pack=jobs.store("regression", real, labels),
        method="sim_to_real",
        hyperparameters=given,
    )


def error(found: Fitted) -> float:
    x, y = measured(100, 99)
    return float(np.sqrt(((found.answers(x) - y) ** 2).mean()))


def test_one_real_example_is_enough(jobs: SignalJobs) -> None:
    before, after = run(jobs, 1, correction="simulated"), run(jobs, 1)
    assert error(after) < 0.06
    assert error(after) < error(before) / 3
    estimate = after.report.estimate
    assert (estimate.value, estimate.insufficient_evidence) == (None, True)
    assert after.manifest.hyperparameters["gain"] == pytest.approx(1.4, rel=0.15)
    assert after.manifest.hyperparameters["shift"] == pytest.approx(0.03 * 119, abs=0.5)
    assert after.manifest.head.kind == "affine"


def test_another_tests(jobs: SignalJobs) -> None:
    found = run(jobs, 2)
    assert found.report.estimate.n == 2
    assert found.report.estimate.insufficient_evidence
    assert error(found) < 0.06


def test_more_examples_choose_among_corrections(jobs: SignalJobs) -> None:
    found = run(jobs, 6, unlabelled=3)
    assert error(found) < 0.05
    assert found.report.estimate.value < 0.1
    assert found.report.estimate.n == 6
    tried = {c.params["correction"] for c in found.report.candidates}
    assert tried == {"simulated", "calibrated", "output_bias", "pooled", "orthogonal"}
    assert [b.name for b in found.report.baselines] == [
        "the simulation as it is",
        "mean of the other real examples",
    ]
    assert found.report.baselines[0].value > found.report.estimate.value
    assert found.report.warnings == ()


@pytest.mark.parametrize("correction", ["calibrated", "output_bias", "pooled", "orthogonal"])
def test_a_correction_can_be_asked_for(jobs: SignalJobs, correction: str) -> None:
    found = run(jobs, 4, correction=correction)
    assert found.manifest.hyperparameters["correction"] == correction
    assert error(found) < 0.15


def test_classes_too(jobs: SignalJobs) -> None:
    x, y = simulated(120, 0)
    real, real_y = measured(4, 7)

    def names(values: np.ndarray) -> list[str]:
        return ["high" if value > 1.25 else "low" for value in values[:, 0]]

    found = jobs.run(
        "classification",
        jobs.store("classification", x, names(y)),
        unlabelled_pack=jobs.store("classification", real, names(real_y)),
        method="sim_to_real",
    )
    new, new_y = measured(100, 99)
    guesses = [found.manifest.labels[i] for i in found.answers(new).argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(guesses, names(new_y), strict=True)]) > 0.9


def test_same_job_gives_the_same_digest(jobs: SignalJobs) -> None:
    assert run(jobs, 2).manifest.digest == run(jobs, 2).manifest.digest


def test_without_real_examples_it_is_refused(jobs: SignalJobs) -> None:
    with pytest.raises(JobFailed) as failure:
        run(jobs, 0, unlabelled=4)
    assert failure.value.code == "no_target_labels"
