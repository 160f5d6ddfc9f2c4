"""Several tasks in one job: heads alone on shared features, and a tail trained for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base import Label, TaskName
from models.errors import JobFailed
from models.fitspec import FitSpec
from models.manifest import HEAD, Manifest
from models.runtime import open_session
from tests import trunks
from tests.signal_jobs import SignalJobs
from tests.training_support import Bench, blobs, names_of
from training import fit
from training.fit import Outcome

OTHERS: dict[str, TaskName] = {"size": "regression", "tags": "multilabel"}


def spec(root: Path, **given: Any) -> FitSpec:
    """Colours, with a task each of the other kinds; their examples are other ones."""
    bench, problem = Bench(root), blobs("classification")
    extras = {}
    for number, (name, task) in enumerate(OTHERS.items(), start=1):
        other = blobs(task, per_class=6 + number, seed=number)
        path, _, pack = bench.pack(name, task, names_of(other))
        bench.embed(pack, other.X, bench.backbone())
        extras[f"file-{name}"] = path
    hyperparameters = {"tasks": {name: f"file-{name}" for name in OTHERS}, **given}
    return bench.spec(
        "classification",
        names_of(problem),
        problem.X,
        method="multi_task",
        hyperparameters=hyperparameters,
        extra_packs=extras,
    )


def run(root: Path, **given: Any) -> Outcome:
    return fit.run(spec(root, **given), lambda event: None)


def answers(manifest: Manifest, graph: bytes, X: np.ndarray) -> list[np.ndarray]:
    (found,) = open_session(graph).run(None, {"features": X})
    return [found[:, columns] for columns in manifest.columns]


def test_every_task_answers_on_shared_features(tmp_path: Path) -> None:
    outcome = run(tmp_path, name="colour")
    manifest, metrics = outcome.manifest, outcome.report.metrics
    assert [(output.name, output.task) for output in manifest.outputs] == list(OTHERS.items())
    assert manifest.labels == ("c0", "c1", "c2")
    assert manifest.hyperparameters["blocks"] == 0
    assert manifest.outputs[0].interval is not None
    assert metrics["accuracy"] == metrics["colour.accuracy"] > 0.9
    assert metrics["tags.micro_f1"] > 0.9
    assert metrics["size.rmse"] < 0.3
    test = blobs("classification", seed=9)
    colour, size, tags = answers(manifest, (tmp_path / "output" / HEAD).read_bytes(), test.X)
    assert (colour.argmax(axis=1) == test.y).mean() > 0.9
    np.testing.assert_allclose(size, 2 * test.X[:, :1] + 5, atol=0.3)
    assert ((tags > 0.5) == (blobs("multilabel", seed=9).y > 0.5)).mean() > 0.9


def test_the_same_job_gives_the_same_model(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.append(run(tmp_path / name).manifest.digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("given", [{"name": "size"}, {"tasks": {"a.b": "file-size"}}, {"tasks": {}}])
def test_names_must_be_names_of_their_own(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(JobFailed) as refused:
        run(tmp_path, **given)
    assert refused.value.code == "bad_hyperparameters"


def test_tasks_take_the_same_inputs(tmp_path: Path) -> None:
    jobs, fields = SignalJobs(tmp_path, []), spec(tmp_path)
    signals = jobs.store("classification", np.eye(4), ["a", "b", "a", "b"])
    mixed = fields.model_copy(update={"extra_packs": {**fields.extra_packs, "file-tags": signals}})
    with pytest.raises(JobFailed, match="signal") as refused:
        fit.run(mixed, lambda event: None)
    assert refused.value.code == "file_mismatch"


def deep(root: Path, **given: Any) -> Any:
    """Signals through a tiny backbone: their kind, a number and two marks."""
    root.mkdir()
    trunks.signal_backbone(root / "tiny")
    jobs, rng = SignalJobs(root, [root / "tiny"]), np.random.default_rng(0)
    files = {}
    for name, task in {"main": "classification", **OTHERS}.items():
        x = rng.normal(size=(18, trunks.POINTS))
        x[::2] += 2
        labels: dict[str, list[Label]] = {
            "classification": ["high" if row[0] > 1 else "low" for row in x],
            "regression": [1000 * float(row.mean()) for row in x],
            "multilabel": [["high"] if row[0] > 1 else ["low", "other"] for row in x],
        }
        files[name] = jobs.store(task, x, labels[task])  # type: ignore[arg-type]
    hyperparameters = {
        "tasks": {name: name for name in OTHERS},
        "blocks": 1,
        "steps": 12,
        "folds": 2,
        **given,
    }
    extras = {name: files[name] for name in OTHERS}
    return jobs.run(
        "classification",
        files["main"],
        method="multi_task",
        hyperparameters=hyperparameters,
        extra_packs=extras,
    )


def test_a_tail_is_trained_for_all_tasks(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    fitted = deep(tmp_path / "a")
    manifest = fitted.manifest
    assert (manifest.head.kind, manifest.head.activation, manifest.head.out_dim) == ("tail", "identity", 6)
    assert manifest.hyperparameters["steps"] == 12
    with np.load(fitted.output / "golden.npz") as golden:
        colour, size, tags = (golden["outputs"][:, columns] for columns in manifest.columns)
    np.testing.assert_allclose(colour.sum(axis=1), 1, atol=1e-5)
    assert np.abs(size).max() > 50
    assert ((tags >= 0) & (tags <= 1)).all()
    assert {"main.accuracy", "size.rmse", "tags.micro_f1"} <= set(fitted.report.metrics)
    assert deep(tmp_path / "b").manifest.digest == manifest.digest


def test_a_training_that_diverges_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from training.deep import joint

    monkeypatch.setattr(joint, "task_loss", lambda task, logits, targets: logits.sum() * float("nan"))
    with pytest.raises(JobFailed) as failed:
        deep(tmp_path / "a")
    assert failed.value.code == "non_finite"
