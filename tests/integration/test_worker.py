"""Leases, fences, cancellation: what keeps a job from being lost, run away or published twice."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.db import queue
from app.db.tables import Job
from app.main import Process, build, create_app
from app.runners.base import DIED
from app.runners.inline import InlineRun, InlineRunner
from app.runners.local import LocalRunner
from app.services.claims import Claim
from app.services.ids import now
from app.services.jobs import JobRequest
from app.services.leases import Leases
from app.settings import Settings
from models.errors import NotFound
from models.fitspec import FitSpec
from models.manifest import GOLDEN, HEAD
from tests.support import TEXTS, finished, jsonl, signal

TENANT = "default"


class HangingRun:
    """A child that never ends by itself."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def messages(self, timeout: float) -> list[dict[str, Any]]:
        time.sleep(timeout)
        return []

    def alive(self) -> bool:
        return not self.killed.is_set()

    def fate(self) -> str:
        return DIED

    def kill(self) -> None:
        self.killed.set()


class Hanging(InlineRunner):
    def __init__(self) -> None:
        self.runs: list[HangingRun] = []

    def start(self, spec: FitSpec, spec_path: str) -> Any:
        self.runs.append(HangingRun())
        return self.runs[-1]


class Tampering(InlineRunner):
    """Trains as it should, then damages one file of the artefact before the worker looks at it."""

    def __init__(self) -> None:
        self.damage: Callable[[Path], None] | None = None

    def start(self, spec: FitSpec, spec_path: str) -> Any:
        run = super().start(spec, spec_path)
        if self.damage is not None:
            run.kill()  # waits for the thread
            self.damage(Path(spec.output))
        return run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, lanes=1, retry_seconds=0.02)


def process_of(settings: Settings, runner: Any = None) -> Process:
    process = build(settings, runner or InlineRunner())
    process.services.registry.start()
    return process


def submit(process: Process, suffix: str = "m") -> str:
    services = process.services
    file = services.files.create(TENANT, "t.jsonl", jsonl(TEXTS), "fine-tune", None, None)
    return services.jobs.create(TENANT, JobRequest("text/minilm-l6", file.id, suffix=suffix)).id


@pytest.fixture
def hanging(settings: Settings) -> Iterator[tuple[Process, Hanging]]:
    runner = Hanging()
    process = process_of(settings, runner)
    process.worker.start()
    yield process, runner
    process.close()


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def test_a_running_job_is_cancelled_within_a_second(hanging: tuple[Process, Hanging]) -> None:
    process, runner = hanging
    job = submit(process)
    run = until(lambda: runner.runs)[0]
    assert process.services.jobs.get(TENANT, job).status == "running"
    assert process.services.jobs.cancel(TENANT, job).status == "cancelled"
    assert run.killed.wait(1.0)
    assert process.services.models.list(TENANT) == []


def test_a_stopping_worker_gives_its_job_back(hanging: tuple[Process, Hanging]) -> None:
    process, runner = hanging
    job = submit(process)
    run = until(lambda: runner.runs)[0]
    process.worker.stop()
    assert run.killed.is_set()
    row = process.services.jobs.get(TENANT, job)
    assert (row.status, row.attempts) == ("queued", 0)


def test_a_job_whose_child_dies_is_tried_three_times_and_says_so(hanging: tuple[Process, Hanging]) -> None:
    process, runner = hanging
    job = submit(process)
    for attempt in range(3):
        until(lambda: len(runner.runs) > attempt)  # noqa: B023
        runner.runs[attempt].kill()
    row = until(lambda: (j := process.services.jobs.get(TENANT, job)).status == "failed" and j)
    assert (row.error["code"], row.attempts) == ("process_died", 3)
    said = [event.data.get("code") for event in process.services.jobs.events(TENANT, job, 0, 100).rows]
    assert said.count("process_died") == 3


def test_a_silent_workers_job_is_taken_over_and_its_late_result_refused(settings: Settings) -> None:
    process = process_of(settings)
    job_id = submit(process)
    first = claimed_by_one_who_falls_silent(process)
    assert process.worker.work_once()
    assert process.services.jobs.get(TENANT, job_id).status == "succeeded"

    spec = process.worker.specs.build(first)
    train_alone(spec, process)
    late = Claim(process.services.db, first, 15)
    assert process.worker.publisher.publish(late, Path(spec.output)) is None
    assert [v.version for v in process.services.models.versions(TENANT, "m")] == [1]
    with process.services.db.write() as session:
        assert not queue.finish(session, job_id, first.fence, "failed", {})
    process.close()


def claimed_by_one_who_falls_silent(process: Process) -> Job:
    """A job claimed by another worker whose lease has lapsed."""
    clock = [0.0]
    leases = Leases(process.services.db, 15.0, clock=lambda: clock[0])
    with process.services.db.write() as session:
        job = queue.claim(session, "lost", now(), lease=15.0)
    assert job is not None
    for clock[0] in (0.0, 10.0, 15.1):
        lapsed = leases.look()
    assert lapsed == [job.id]
    return job


def train_alone(spec: FitSpec, process: Process) -> None:
    run = InlineRunner().start(spec, process.worker.specs.write(spec))
    assert isinstance(run, InlineRun)
    run.kill()


def test_a_job_that_loses_every_worker_fails_in_the_end(settings: Settings) -> None:
    process = process_of(settings.model_copy(update={"max_attempts": 2}))
    job = submit(process)
    for _ in range(2):
        claimed_by_one_who_falls_silent(process)
    assert process.worker.work_once()
    row = process.services.jobs.get(TENANT, job)
    assert row.error is not None
    assert row.error["code"] == "worker_lost"
    assert not process.worker.work_once()
    process.close()


def flip(name: str) -> Callable[[Path], None]:
    def damage(output: Path) -> None:
        data = bytearray((output / name).read_bytes())
        data[len(data) // 2] ^= 0xFF
        (output / name).write_bytes(bytes(data))

    return damage


def unlink(output: Path) -> None:
    (output / GOLDEN).unlink()


def other_outputs(output: Path) -> None:
    """Golden outputs that the head does not give, consistently signed: only running it can tell."""
    from models.base import sha256
    from models.manifest import MANIFEST, Manifest

    with np.load(output / GOLDEN) as npz:
        arrays = dict(npz)
    arrays["outputs"] = arrays["outputs"][:, ::-1]
    np.savez(output / GOLDEN, **arrays)
    manifest = Manifest.model_validate_json((output / MANIFEST).read_bytes())
    files = {**manifest.files, GOLDEN: sha256((output / GOLDEN).read_bytes())}
    (output / MANIFEST).write_bytes(manifest.model_copy(update={"files": files}).canonical())


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (flip(HEAD), "corrupt_artefact"),
        (flip(GOLDEN), "corrupt_artefact"),
        (unlink, "corrupt_artefact"),
        (other_outputs, "golden_mismatch"),
    ],
    ids=["head flipped", "golden flipped", "golden missing", "golden disagrees"],
)
def test_a_damaged_artefact_leaves_the_old_version_serving(
    tmp_path: Path, damage: Callable[[Path], None], code: str
) -> None:
    runner = Tampering()
    with TestClient(create_app(Settings(data=tmp_path, lanes=1), runner=runner)) as client:
        file = client.post("/v1/files", files={"file": ("t.jsonl", jsonl(TEXTS))}).json()["id"]
        body = {"model": "text/minilm-l6", "training_file": file, "suffix": "m"}
        first = finished(client, client.post("/v1/fine_tuning/jobs", json=body).json())
        runner.damage = damage
        second = finished(client, client.post("/v1/fine_tuning/jobs", json={**body, "seed": 5}).json())
        assert second["error"]["code"] == code
        asked = client.post("/v1/predictions", json={"model": "m", "input": "money back"}).json()
        assert (asked["version"], asked["digest"]) == (1, first["result"]["digest"])
        assert client.get("/v1/models/m").json()["aliases"] == {"live": 1}


def test_the_work_folder_is_left_empty(settings: Settings) -> None:
    process = process_of(settings)
    submit(process)
    assert process.worker.work_once()
    assert list(settings.work.iterdir()) == []
    process.close()


def test_published_models_survive_a_restart(settings: Settings) -> None:
    process = process_of(settings)
    submit(process, "kept")
    assert process.worker.work_once()
    digest = process.services.models.get(TENANT, "kept").manifest.digest
    process.close()
    again = process_of(settings)
    assert again.services.serving.catalogue.resolve(TENANT, "kept").digest == digest
    with pytest.raises(NotFound):
        again.services.serving.catalogue.resolve(TENANT, "other")
    again.close()


def children() -> set[int]:
    """Processes below this one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, front = set(), {os.getpid()}
    while front:
        front = {pid for pid, parent in parents.items() if parent in front} - found
        found |= front
    return found


def test_a_forked_job_runs_and_a_cancelled_one_leaves_no_process(settings: Settings) -> None:
    runner = LocalRunner()
    process = process_of(settings, runner)
    assert {m["name"] for m in process.services.methods.all()} >= {"auto", "logistic"}
    warm = children()
    process.worker.start()
    job = submit(process)
    until(lambda: process.services.jobs.get(TENANT, job).status == "succeeded", 30)

    rows = [{"input": signal(i % 2, i), "label": f"class {i % 300}"} for i in range(3_000)]
    file = process.services.files.create(TENANT, "s.jsonl", jsonl(rows), "fine-tune", None, None)
    warm |= children()  # those that decode uploads
    slow = process.services.jobs.create(TENANT, JobRequest("signal/raw", file.id)).id
    child = until(lambda: children() - warm, 30)
    process.services.jobs.cancel(TENANT, slow)
    until(lambda: not (child & children()), 1.0)
    assert process.services.jobs.get(TENANT, slow).status == "cancelled"
    process.close()
