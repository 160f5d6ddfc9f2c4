"""Each fault of the ground the service stands on: named in readiness and metrics, and predictions go on."""

from __future__ import annotations

import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from app.db import database
from app.db.database import Database
from app.main import create_app
from app.runners.inline import InlineRunner
from app.services.container import Services
from app.settings import Settings
from models.manifest import GOLDEN, HEAD, MANIFEST
from tests.postgres import control, needs_postgres, postgres
from tests.support import finished, jsonl, signal

ROWS = [{"input": signal(i % 2, i), "label": str(i % 2)} for i in range(12)]
ASK = {"model": "m", "input": signal(0, 99)}


class Running:
    """A service with one model `m`, in this process."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.services: Services = client.app.state.services  # type: ignore[attr-defined]
        answers = (
            self.upload() for _ in range(20)
        )  # the disk may be busier than these tests' patience allows
        self.file = next(answer for answer in answers if answer.status_code != 503).json()["id"]
        self.first = self.train()["result"]

    def upload(self, rows: Any = ROWS) -> Any:
        return self.client.post("/v1/files", files={"file": ("t.jsonl", jsonl(rows))})

    def submit(self, seed: int = 0) -> Any:
        body = {"model": "signal/raw", "training_file": self.file, "suffix": "m", "seed": seed}
        return self.client.post("/v1/fine_tuning/jobs", json={**body, "method": {"type": "ridge"}})

    def train(self, seed: int = 0) -> Any:
        return finished(self.client, self.submit(seed).json())

    def predict(self) -> Any:
        return self.client.post("/v1/predictions", json=ASK)

    def degraded(self) -> tuple[int, list[str]]:
        """What readiness says, which metrics have to agree with."""
        self.services.health.look()
        ready = self.client.get("/v2/health/ready")
        named = ready.json()["degraded"]
        metrics = self.client.get("/metrics")
        assert metrics.status_code == 200
        lines = [line for line in metrics.text.splitlines() if line.startswith("durian_degraded{")]
        told = sorted(line.split('"')[1] for line in lines if line.endswith(" 1.0"))
        assert told == named
        return ready.status_code, named


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    with TestClient(create_app(settings, runner=InlineRunner())) as client:
        yield Running(client)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(database, "PROBE_SECONDS", 0.2)
    with running(Settings(data=tmp_path, lanes=1, retry_seconds=0.02)) as service:
        yield service


def test_all_is_well(service: Running) -> None:
    assert service.degraded() == (200, [])
    assert service.predict().status_code == 200


@contextmanager
def locked(db: Database, folder: Path) -> Iterator[None]:
    """Somebody writes and does not come to an end."""
    if not db.embedded:
        with db.write() as session:
            session.execute(text("SELECT 1"))
            yield
        return
    lock = sqlite3.connect(folder / "durian.sqlite", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    yield
    lock.close()


def test_a_locked_database_refuses_writes_and_predictions_go_on(service: Running, tmp_path: Path) -> None:
    with locked(service.services.db, tmp_path):
        started = time.monotonic()
        answers = [service.predict() for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert time.monotonic() - started < 2.0, "nobody waits for the database"
        refused = service.upload([*ROWS, ROWS[0]])
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "database"
        assert service.degraded() == (200, ["database"])
    assert service.upload().status_code == 200
    assert service.degraded() == (200, [])


@pytest.mark.nightly
@needs_postgres
def test_predictions_go_on_while_postgresql_is_away(tmp_path: Path) -> None:
    with postgres() as (url, folder), running(Settings(data=tmp_path, lanes=1, database=url)) as service:
        control(folder, "stop")
        assert service.upload().status_code == 503
        assert service.predict().status_code == 200
        assert service.degraded() == (200, ["database"])
        control(folder, "start")
        assert service.upload().status_code == 200
        assert service.degraded() == (200, [])
        assert service.train(1)["status"] == "succeeded"


@contextmanager
def files_of_at_most(nbytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_uploads_and_predictions_go_on(service: Running, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with files_of_at_most(4096):
        refused = service.upload([{"input": signal(0, i), "label": "x"} for i in range(40)])
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        if service.services.db.embedded:  # else a job is a row that lies elsewhere
            assert service.submit(3).status_code == 507
        assert service.predict().status_code == 200
        code, named = service.degraded()
    assert (code, "disk_full" in named) == (200, True)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path not in before]
    assert left == [], "nothing is kept of what was refused"
    assert service.upload([*ROWS, ROWS[0]]).status_code == 200


def test_a_failed_fsync_ends_all_storing_and_predictions_go_on(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "injected")

    with monkeypatch.context() as fault:
        fault.setattr("models.disk.os.fsync", broken)
        assert service.upload([{"input": signal(1, 7), "label": "x"}]).status_code == 503
    refused = service.upload([{"input": signal(1, 8), "label": "x"}])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_failed")
    assert service.predict().status_code == 200
    assert service.degraded() == (200, ["storage_failed"])
    ended = service.train(5)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "storage_failed")


def test_a_full_job_queue_refuses_and_says_so(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path, lanes=1, max_queued_jobs=3)) as service:
        worker = service.services.jobs
        worker.wake = lambda: None
        _stop_workers(service)
        answers = [service.submit(seed) for seed in range(30)]
        refused = answers[-1]
        assert {a.status_code for a in answers[:3]} == {200}
        assert {a.status_code for a in answers[3:]} == {429}
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        assert service.degraded() == (200, ["job_queue_full"])
        assert service.predict().status_code == 200


def _stop_workers(service: Running) -> None:
    service.client.app.state.process.worker.stop()  # type: ignore[attr-defined]


def flipped(folder: Path) -> None:
    data = bytearray((folder / HEAD).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (folder / HEAD).write_bytes(bytes(data))


def unlinked(folder: Path) -> None:
    (folder / GOLDEN).unlink()


def emptied(folder: Path) -> None:
    for name in (HEAD, GOLDEN, MANIFEST):
        (folder / name).unlink()


@pytest.mark.parametrize("damage", [flipped, unlinked, emptied])
def test_a_version_that_rots_before_it_loads_leaves_the_old_one_serving(
    service: Running, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    registry, artefacts = service.services.registry, service.services.settings.artefacts
    refresh, undo = type(registry).refresh, {}
    once = threading.Lock()  # two threads refresh, and damage done twice may be none

    def late(self: Any) -> None:
        with once:
            for folder in artefacts.glob("??/*"):
                if folder.name != service.first["digest"] and not undo:
                    undo.update({path: path.read_bytes() for path in folder.iterdir()})
                    damage(folder)
        refresh(self)

    monkeypatch.setattr(type(registry), "refresh", late)
    second = service.train(7)
    assert second["status"] == "succeeded"
    registry.refresh()  # whatever others have seen so far
    answer = service.predict().json()
    assert (answer["version"], answer["digest"]) == (1, service.first["digest"])
    assert service.degraded() == (200, ["artefact_corrupt"])
    for path, data in undo.items():
        path.write_bytes(data)
    registry.refresh()
    assert service.predict().json()["digest"] == second["result"]["digest"]
    assert service.degraded() == (200, [])


def test_a_rotten_artefact_is_refused_by_name_after_a_restart_and_made_whole_by_the_same_job(
    tmp_path: Path,
) -> None:
    settings = Settings(data=tmp_path, lanes=1)
    with running(settings) as service:
        digest = service.first["digest"]
    flipped(settings.artefacts / digest[:2] / digest)
    with TestClient(create_app(settings, runner=InlineRunner())) as client:
        refused = client.post("/v1/predictions", json=ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "corrupt_artefact")
        assert client.get("/v2/health/ready").json()["degraded"] == ["artefact_corrupt"]
        file = client.get("/v1/files").json()["data"][0]["id"]
        body = {"model": "signal/raw", "training_file": file, "suffix": "m", "method": {"type": "ridge"}}
        again = finished(client, client.post("/v1/fine_tuning/jobs", json=body).json())
        assert again["result"]["digest"] == digest
        assert client.post("/v1/predictions", json=ASK).status_code == 200


def test_a_lost_device_is_not_ready_and_a_missing_one_is_named(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunks = service.client.app.state.process.engine._trunks.loaded()  # type: ignore[attr-defined]
    trunk = next(trunk for trunk in trunks if trunk.card.id == "signal/raw")
    monkeypatch.setattr(trunk, "device", "cuda")
    service.predict()
    assert service.degraded() == (200, []), "the canary sings"
    with monkeypatch.context() as missing:
        missing.setattr(trunk, "fell_back", True)
        assert service.degraded() == (200, ["cuda_unavailable"])
    run = trunk._runnable.run
    wrong = lambda batch, taps: {tap: np.full_like(rows, np.nan) for tap, rows in run(batch, taps).items()}  # noqa: E731
    monkeypatch.setattr(trunk._runnable, "run", wrong)
    assert service.degraded() == (503, ["device_lost"])
    monkeypatch.setattr(trunk._runnable, "run", run)
    assert service.degraded() == (503, ["device_lost"]), "only another process gets another context"
