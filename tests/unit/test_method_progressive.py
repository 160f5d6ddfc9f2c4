"""A new column beside the frozen one: it helps where the top has lost what matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import JobFailed
from tests import deep_jobs
from tests.deep_jobs import accuracy, answers, head, run, stored


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deep_jobs.write_blind(tmp_path_factory.mktemp("blind"), ("Relu",), gain=1.0)


def lost(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Signals whose class is known at the low tap, from the sign of its first unit times the second's."""
    x = np.random.default_rng(seed).normal(size=(n, deep_jobs.POINTS))
    low = np.tanh(x @ deep_jobs.weights()["w_low"])
    return x, ["same" if one else "other" for one in low[:, 0] * low[:, 1] > 0]


def start(tmp_path: Path, folder: Path) -> Path:
    (tmp_path / "blind").symlink_to(folder)
    return tmp_path


def test_the_column_finds_what_the_top_has_lost(tmp_path: Path, folder: Path) -> None:
    root = start(tmp_path, folder)
    found = run(root, "progressive", lost(120, 0), hyperparameters={"width": 24, "adapter": 8})
    probe = next(b for b in found.report.baselines if b.name.startswith("logistic"))
    assert found.manifest.tap == "low+top"
    assert found.manifest.head.kind == "graph"
    assert found.manifest.hyperparameters["restraint"] == 1.0
    assert found.report.estimate.value is not None
    assert found.report.estimate.value > probe.value + 0.06
    assert accuracy(found, lost(300, 1)) > 0.85


def test_restrained_it_is_the_linear_probe(tmp_path: Path, folder: Path) -> None:
    root, data = start(tmp_path, folder), deep_jobs.seen(40, 0)
    found = run(root, "progressive", data, hyperparameters={"width": 8, "restraint": 1e4})
    probe = run(root, "logistic", data, hyperparameters={"C": 10.0})
    x, _ = deep_jobs.seen(50, 1)
    np.testing.assert_array_equal(*(answers(one, x).argmax(axis=1) for one in (found, probe)))


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_tasks(tmp_path: Path, folder: Path, task: str) -> None:
    x = np.random.default_rng(0).normal(size=(30, deep_jobs.POINTS))
    values = (
        [float(v) for v in x[:, 0]] if task == "regression" else [["a"] if v > 0 else [] for v in x[:, 0]]
    )
    found = run(start(tmp_path, folder), "progressive", (x, values), task=task, hyperparameters={"width": 8})
    assert found.report.estimate.value is not None
    guess = found.report.baselines[0].value
    better = (
        found.report.estimate.value < guess if task == "regression" else found.report.estimate.value > 0.6
    )
    assert better


def test_taps_are_those_asked_for(tmp_path: Path, folder: Path) -> None:
    root = start(tmp_path, folder)
    one = run(root, "progressive", hyperparameters={"taps": ["top"], "width": 4})
    assert one.manifest.tap == "top"
    assert stored(head(one))["layer_0_weight"].shape == (4, deep_jobs.TOP)
    with pytest.raises(JobFailed) as failed:
        run(root, "progressive", hyperparameters={"taps": ["nowhere"]})
    assert failed.value.code == "bad_hyperparameters"
    assert "low, top" in failed.value.message


def test_equal_jobs_give_equal_artefacts(tmp_path: Path, folder: Path) -> None:
    root = start(tmp_path, folder)
    first, second = (run(root, "progressive", hyperparameters={"width": 4}) for _ in range(2))
    assert first.manifest.digest == second.manifest.digest
