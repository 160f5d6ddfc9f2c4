"""A job from its FitSpec to its artefact, over cached features."""

from __future__ import annotations

import io
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.base import TaskName, sha256
from models.errors import CorruptArtefact, JobFailed
from models.events import Event
from models.fitspec import FitSpec
from models.manifest import GOLDEN, HEAD, MANIFEST, REPORT, Manifest
from models.report import Report
from models.runtime import open_session
from models.store import verify_files
from tests.training_support import Bench, blobs, names_of
from training import fit
from training.__main__ import main
from training.artefact import check_parity, versions
from training.heads import AffineHead

TASKS: list[TaskName] = ["classification", "regression", "multilabel"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(spec: FitSpec) -> fit.Outcome:
    return fit.run(spec, lambda event: None)


def job(bench: Bench, task: TaskName = "classification", per_class: int = 6, **more: Any) -> FitSpec:
    problem = blobs(task, per_class)
    return bench.spec(task, names_of(problem), problem.X, **more)


@pytest.mark.parametrize("task", TASKS)
def test_artefact_is_complete_and_answers(bench: Bench, task: TaskName) -> None:
    spec = job(bench, task)
    outcome = run(spec)
    output = Path(spec.output)
    assert sorted(p.name for p in output.iterdir()) == sorted([HEAD, GOLDEN, MANIFEST, REPORT])
    manifest = Manifest.model_validate_json((output / MANIFEST).read_bytes())
    assert manifest == outcome.manifest
    files = verify_files(output, manifest.files)
    with np.load(io.BytesIO(files[GOLDEN]), allow_pickle=False) as golden:
        found = open_session(files[HEAD]).run(None, {"features": golden["features"]})[0]
        np.testing.assert_allclose(found, golden["outputs"], atol=1e-6)
        assert golden["blob"].tobytes() == b"train 0train 1train 2train 3"
        np.testing.assert_array_equal(golden["ends"], [7, 14, 21, 28])
    assert found.shape == (4, manifest.head.out_dim) == (4, len(manifest.labels))
    assert (manifest.interval is not None) == (task == "regression")


@pytest.mark.parametrize("task", TASKS)
def test_report_reads_back_and_is_whole(bench: Bench, task: TaskName) -> None:
    spec = job(bench, task)
    outcome = run(spec)
    report = Report.model_validate_json((Path(spec.output) / REPORT).read_bytes())
    assert report == outcome.report
    assert report.digests["artefact"] == outcome.manifest.digest
    assert set(report.timings) == {"load", "features", "select", "fit", "report", "export"}
    assert [c.chosen for c in report.candidates].count(True) == 1
    assert len(report.baselines) == 2
    assert report.warnings == ()
    assert report.examples == 18


@pytest.mark.parametrize("task", TASKS)
def test_same_job_gives_the_same_digest(bench: Bench, task: TaskName) -> None:
    first = run(job(bench, task, seed=5))
    second = run(job(bench, task, seed=5, job_id="ftjob-2", output=str(bench.root / "again")))
    assert first.manifest.digest == second.manifest.digest
    assert run(job(bench, task, seed=6)).manifest.digest != first.manifest.digest


def test_labels_are_sorted_and_unlabelled_rows_are_counted(bench: Bench) -> None:
    problem = blobs("classification")
    labels = [f"z{-int(i)}" for i in problem.y]
    labels[0] = labels[9] = None
    outcome = run(bench.spec("classification", labels, problem.X))
    assert outcome.manifest.labels == ("z-1", "z-2", "z0")
    assert outcome.report.unlabelled == 2
    assert outcome.report.examples == len(problem) - 2


def test_progress_rises_to_one(bench: Bench) -> None:
    events: list[Event] = []
    fit.run(job(bench), events.append)
    progress = [event.data["progress"] for event in events]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert {event.data["phase"] for event in events} >= {"load", "features", "select", "fit", "export"}
    assert events[-1].data["method"] == "logistic"


def test_validation_file_is_scored_apart(bench: Bench) -> None:
    held_out = blobs("classification", seed=9)
    path, _, pack = bench.pack("validation", "classification", [*names_of(held_out)[:-1], "unheard of"])
    bench.embed(pack, held_out.X, bench.backbone())
    validation = run(job(bench, validation_pack=path)).report.validation
    assert (validation.n, validation.unknown_labels) == (len(held_out) - 1, 1)
    assert validation.metrics["accuracy"] > 0.9


def test_better_baseline_backbone_is_warned_of(bench: Bench) -> None:
    good = blobs("classification")
    noise = np.random.default_rng(0).normal(size=good.X.shape).astype(np.float32)
    pixels = bench.backbone("image/pixels", baseline=True)
    spec = bench.spec("classification", names_of(good), noise, baselines=(pixels,))
    bench.embed(bench.pack("train", "classification", names_of(good))[2], good.X, pixels)
    report = run(spec).report
    assert [b.name for b in report.baselines][2] == "ridge on image/pixels at top"
    assert any("image/pixels" in text for text in report.warnings)


def test_named_method_and_its_hyperparameters_are_used(bench: Bench) -> None:
    outcome = run(job(bench, method="logistic", hyperparameters={"C": 2.5}))
    assert outcome.manifest.hyperparameters["C"] == 2.5
    assert outcome.manifest.head.kind == "affine"
    assert run(job(bench, method="knn")).manifest.head.kind == "graph"


@pytest.mark.parametrize(
    ("task", "labels", "code"),
    [
        ("classification", ["a", "a", "a"], "too_few_classes"),
        ("classification", ["a", None, None], "too_few_examples"),
        ("multilabel", [[], [], []], "too_few_classes"),
        ("regression", [1.0, 2.0, None], "too_few_examples"),
    ],
)
def test_too_little_to_learn_from(bench: Bench, task: TaskName, labels: list[Any], code: str) -> None:
    with pytest.raises(JobFailed) as failure:
        run(bench.spec(task, labels, np.eye(3, dtype=np.float32)))
    assert failure.value.code == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"method": "unheard_of"}, "bad_method"),
        ({"method": "ridge", "hyperparameters": {"C": 1}}, "bad_hyperparameters"),
        ({"hyperparameters": {"C": 1}}, "bad_hyperparameters"),
        ({"training_pack": "gone"}, "data_gone"),
    ],
)
def test_wrong_spec_is_refused(bench: Bench, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(JobFailed) as failure:
        run(job(bench, **fields))
    assert failure.value.code == code


def test_method_that_does_not_serve_the_task_is_refused(bench: Bench) -> None:
    with pytest.raises(JobFailed) as failure:
        run(job(bench, "regression", method="prototypes"))
    assert failure.value.code == "method_mismatch"


def test_changed_data_is_refused(bench: Bench) -> None:
    with pytest.raises(CorruptArtefact):
        run(job(bench, training_digest=sha256(b"other")))


def test_features_that_are_not_finite_name_the_example(bench: Bench) -> None:
    problem = blobs("classification")
    X = problem.X.copy()
    X[4, 0] = np.nan
    with pytest.raises(JobFailed, match="example 5") as failure:
        run(bench.spec("classification", names_of(problem), X))
    assert failure.value.code == "non_finite"


def test_parity_gate_refuses_another_graph() -> None:
    X = blobs("classification").X
    head = AffineHead(np.eye(3, 6), np.zeros(3), "softmax")
    other = AffineHead(1.01 * np.eye(3, 6), np.zeros(3), "softmax")
    assert check_parity(head, head.to_onnx(), X).shape == (len(X), 3)
    with pytest.raises(JobFailed) as failure:
        check_parity(head, other.to_onnx(), X)
    assert failure.value.code == "parity"


def test_gate_refuses_numbers_that_are_not_finite() -> None:
    head = AffineHead(np.full((2, 6), np.nan), np.zeros(2), "softmax")
    with pytest.raises(JobFailed) as failure:
        check_parity(head, head.to_onnx(), blobs("classification").X)
    assert failure.value.code == "non_finite"


def test_command_replays_a_job_from_its_spec(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    spec = job(bench)
    expected = run(spec).manifest.digest
    path = bench.root / "fitspec.json"
    path.write_bytes(spec.canonical())
    assert main(["fit", str(path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {"done": {"digest": expected}}
    assert all("event" in line for line in lines[:-1])


def test_command_fails_with_a_code(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    path = bench.root / "fitspec.json"
    path.write_bytes(job(bench, method="unheard_of").canonical())
    assert main(["fit", str(path)]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"]["code"] == "bad_method"


def test_command_lists_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    names = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert names[0] == "auto"
    assert names[1:] == sorted(names[1:])
    assert {"knn", "logistic", "prototypes", "ridge", "attributes"} <= set(names)


def test_versions_where_onnxruntime_is_of_another_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the cpu images, which have `onnxruntime` in place of `onnxruntime-gpu`."""
    real = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name == "onnxruntime-gpu":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert versions()["onnxruntime"] == onnxruntime.__version__
