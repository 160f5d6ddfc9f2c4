"""What a job's artefact and report say of their own doubts, and when they keep silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base import TaskName
from models.manifest import MANIFEST, Manifest
from models.novelty import NOVELTY, Novelty
from models.report import Report
from models.store import verify_files
from tests.training_support import Bench, blobs, names_of
from tests.trunks import card, manifest
from training import fit


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(
    bench: Bench, task: TaskName = "classification", per_class: int = 10, **more: Any
) -> tuple[Manifest, Report, dict[str, bytes]]:
    problem = blobs(task, per_class)
    spec = bench.spec(
        task,
        names_of(problem),
        problem.X,
        **{"method": "ridge" if task == "regression" else "logistic", **more},
    )
    outcome = fit.run(spec, lambda event: None)
    return outcome.manifest, outcome.report, verify_files(Path(spec.output), outcome.manifest.files)


def test_with_enough_examples_everything_is_told(bench: Bench) -> None:
    made, report, files = run(bench)
    assert made.prediction_sets is not None
    assert made.rejection is not None
    assert {"set_coverage", "set_size", "false_alarms"} < report.metrics.keys()
    assert report.metrics["false_alarms"] == made.rejection.false_alarms
    told = Novelty.from_bytes(files[NOVELTY], made.head.in_dim)
    assert told.threshold == made.rejection.threshold
    assert told.unknown(np.full((1, 6), -9, np.float32), np.full((1, 3), 1 / 3, np.float32)).all()


@pytest.mark.parametrize(("task", "sets"), [("regression", False), ("multilabel", False)])
def test_other_tasks_tell_the_unknown_but_have_no_sets(bench: Bench, task: TaskName, sets: bool) -> None:
    made, report, files = run(bench, task)
    assert (made.prediction_sets is not None) == sets
    assert made.rejection is not None
    assert NOVELTY in files
    assert "set_size" not in report.metrics


@pytest.mark.parametrize(
    ("per_class", "sets", "unknown"), [(2, False, False), (4, True, False), (5, True, False), (7, True, True)]
)
def test_with_few_examples_the_model_keeps_silent(
    bench: Bench, per_class: int, sets: bool, unknown: bool
) -> None:
    # Below five a class nothing is unknown; nor with 15 in all: a twentieth of them is less than one.
    made, report, files = run(bench, per_class=per_class)
    assert (made.prediction_sets is not None, made.rejection is not None) == (sets, unknown)
    assert (NOVELTY in files) == unknown
    assert ("false_alarms" in report.metrics) == unknown


def test_with_a_target_domain_the_examples_are_not_what_will_be_served(bench: Bench) -> None:
    problem = blobs("classification", 10)
    path, _, pack = bench.pack("target", "classification", [None] * 12)
    bench.embed(pack, problem.X[:12], bench.backbone())
    made, _, files = run(bench, unlabelled_pack=path)
    assert (made.prediction_sets, made.rejection) == (None, None)
    assert NOVELTY not in files


def test_a_validation_file_measures_both_on_what_the_model_never_saw(bench: Bench) -> None:
    fresh = blobs("classification", 20, seed=5)
    path, _, pack = bench.pack("validation", "classification", names_of(fresh))
    bench.embed(pack, fresh.X, bench.backbone())
    _, report, _ = run(bench, per_class=30, validation_pack=path)
    found = report.validation.metrics
    assert found["set_coverage"] > 0.9
    assert found["false_alarms"] < 0.15


def test_the_same_job_makes_the_same_files(bench: Bench, tmp_path: Path) -> None:
    made, _, files = run(bench)
    (tmp_path / "again").mkdir()
    again, _, same = run(Bench(tmp_path / "again"))
    assert (again.digest, same[NOVELTY]) == (made.digest, files[NOVELTY])


def test_a_manifest_of_before_keeps_its_digest() -> None:
    # Fields that say nothing are not in the canonical form: an artefact written without them is the same.
    made = manifest(card())
    assert b"prediction_sets" not in made.canonical()
    assert b"rejection" not in made.canonical()
    assert made.digest == "779dbc69bfb3e597de59f3a718ccb37938d285d900fb9078e7014b25d8be6c5a"
    assert Manifest.model_validate_json(made.canonical()) == made


def test_a_manifest_with_them_reads_back(bench: Bench) -> None:
    made, _, _ = run(bench)
    written = (bench.root / "output" / MANIFEST).read_bytes()
    assert Manifest.model_validate_json(written) == made
    assert b"prediction_sets" in written
