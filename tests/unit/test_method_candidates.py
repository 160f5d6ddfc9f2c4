"""A population of heads, of which a few real examples keep the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from tests.signal_jobs import Fitted, SignalJobs, write_raw
from tests.simulated import simulated
from tests.training_support import Bench, blobs, names_of
from training import fit
from training.heads import AffineHead
from training.signals.affine import mean_head, shifted, shrunk_mean, without_directions
from training.signals.calibrate import Instrument

TRUE = Instrument(shift=0.02, broadening=0.01, gain=1.2, offset=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def jobs(tmp_path: Path, folder: Path) -> SignalJobs:
    return SignalJobs(tmp_path, [folder], taps={"signal/raw": ("raw",)})


def measured(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = simulated(n, seed)
    return TRUE.apply(x) + 0.01 * np.random.default_rng(seed).standard_normal(x.shape), y


def run(jobs: SignalJobs, shots: int, **given: Any) -> Fitted:
    x, y = simulated(150, 0)
    real, real_y = measured(shots, 7)
    return jobs.run(
        "regression",
        jobs.store("regression", x, [float(v) for v in y[:, 0]]),
        unlabelled_pack=jobs.store("regression", real, [float(v) for v in real_y[:, 0]]),
        method="candidates",
        hyperparameters=given,
    )


def error(found: Fitted) -> float:
    x, y = measured(100, 99)
    return float(np.sqrt(((found.answers(x) - y) ** 2).mean()))


def test_the_best_of_many_beat_one_head_on_the_source(jobs: SignalJobs) -> None:
    found = run(jobs, 6)
    single = next(b for b in found.report.baselines if b.name.startswith("one head"))
    assert error(found) < 0.6 * single.value
    assert found.report.estimate.n == 6
    assert found.manifest.head.kind == "affine"
    assert found.manifest.hyperparameters["members"] == 40
    assert [c.chosen for c in found.report.candidates].count(True) == 1
    assert len(found.report.candidates) == 5


def test_one_example_ranks_and_nothing_tests(jobs: SignalJobs) -> None:
    found = run(jobs, 1, members=4, keep=9)
    assert found.report.estimate.value is None
    assert found.manifest.hyperparameters == {"members": 4, "keep": 4}


def test_same_job_gives_the_same_digest(jobs: SignalJobs) -> None:
    first, second = (run(jobs, 3, members=5, keep=2).manifest.digest for _ in range(2))
    assert first == second


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_any_modality_and_task_by_features(tmp_path: Path, task: Any) -> None:
    bench = Bench(tmp_path)
    source, target = blobs(task), blobs(task, per_class=2, seed=5)
    path, _, pack = bench.pack("real", task, names_of(target))
    bench.embed(pack, target.X + np.float32(0.5), bench.backbone())
    spec = bench.spec(task, names_of(source), source.X, unlabelled_pack=path, method="candidates")
    report = fit.run(spec, lambda event: None).report
    assert report.estimate.n == 6
    assert report.estimate.value < 2 if task == "regression" else report.estimate.value > 0.9


def test_without_real_examples_it_is_refused(tmp_path: Path) -> None:
    source = blobs("classification")
    spec = Bench(tmp_path).spec("classification", names_of(source), source.X, method="candidates")
    with pytest.raises(JobFailed) as failure:
        fit.run(spec, lambda event: None)
    assert failure.value.code == "no_target_labels"


def test_affine_arithmetic_by_hand() -> None:
    one = AffineHead(np.array([[1.0, 2]]), np.array([3.0]), "identity")
    two = AffineHead(np.array([[3.0, 0]]), np.array([1.0]), "identity")
    mean = mean_head([one, two])
    np.testing.assert_allclose(mean.weight, [[2, 1]])
    np.testing.assert_allclose(mean.bias, [2])
    np.testing.assert_allclose(shifted(one, np.array([0.5])).bias, [3.5])
    np.testing.assert_allclose(without_directions(one, np.array([[0.6, 0.8]])).weight, [[-0.32, 0.24]])


def test_shrinkage_by_hand() -> None:
    residuals = np.array([[1.0], [3.0]])  # mean 2, squared 4; error 2 of two rows: 1 - 2 / (2 * 4)
    np.testing.assert_allclose(shrunk_mean(residuals, 2.0), [1.5])
    np.testing.assert_allclose(shrunk_mean(residuals, 100.0), [0])
    np.testing.assert_allclose(shrunk_mean(np.zeros((2, 1)), 1.0), [0])
