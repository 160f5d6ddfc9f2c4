"""Workers on other machines: what they can train is offered, and jobs find the worker that can run them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from app import health
from app.db import queue
from app.db.database import Database
from app.db.tables import Job, WorkerSeen
from app.services import workers as module
from app.services.attendance import Attendance
from app.services.ids import now
from app.services.methods import Methods
from app.services.workers import Workers
from models.errors import Unavailable


class Describing:
    """A training side with one method that needs torch, which it has or lacks."""

    def __init__(self, torch: bool) -> None:
        self.torch = torch

    def methods(self) -> list[dict[str, Any]]:
        common = {"tasks": ["classification"], "modalities": ["text"], "hyperparameters": {}, "needs": []}
        return [
            {"name": "auto", "available": True, **common},
            {"name": "deep", "available": self.torch, **common},
        ]

    def recommend(self, spec: Any) -> Any:
        raise NotImplementedError


def offered(methods: Methods) -> set[str]:
    return {method["name"] for method in methods.all() if method["available"]}


def test_a_method_is_offered_while_a_worker_that_has_torch_lives(db: Database) -> None:
    workers = Workers(db)
    methods = Methods(Describing(torch=False), workers.methods)
    assert offered(methods) == {"auto"}
    workers.announce("elsewhere", ["auto", "deep"])
    assert offered(methods) == {"auto", "deep"}
    assert methods.check("deep", {}, "classification", "text")["available"]
    workers.leave("elsewhere")
    assert offered(methods) == {"auto"}


def test_a_silent_worker_offers_nothing_and_is_forgotten(db: Database) -> None:
    workers = Workers(db)
    with db.write() as session:
        for name, age in (("silent", module.SEEN_SECONDS + 1), ("long gone", 90_000)):
            session.add(WorkerSeen(owner=name, seen_at=now() - age, methods=["deep"]))
    assert workers.methods() == set()
    workers.announce("new", ["auto"])
    with db.read() as session:
        assert {row.owner for row in session.query(WorkerSeen)} == {"silent", "new"}


def job_of(method: str) -> Job:
    return Job(
        id=method,
        tenant="t",
        status="queued",
        created_at=0.0,
        model="m",
        target="m",
        method=method,
        hyperparameters={},
        seed=0,
        metadata_={},
        training_file="f",
        spec={},
        request_digest="",
        not_before=0.0,
    )


def test_a_worker_leaves_what_it_cannot_train_to_others(db: Database) -> None:
    with db.write() as session:
        session.add_all([job_of("deep"), job_of("auto")])
    with db.write() as session:
        assert getattr(queue.claim(session, "small", now(), 9, lacking=["deep"]), "id", None) == "auto"
        assert queue.claim(session, "small", now(), 9, lacking=["deep"]) is None
        assert getattr(queue.claim(session, "large", now(), 9), "id", None) == "deep"


def test_a_worker_signs_in_and_out(db: Database, tmp_path: Path) -> None:
    workers, beat = Workers(db), tmp_path / health.BEAT
    attendance = Attendance(workers, "w", lambda: ["auto"], beat)
    attendance.start()
    deadline = time.monotonic() + 5
    while not beat.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert workers.methods() == {"auto"}
    attendance.stop()
    assert workers.methods() == set()


def test_a_worker_that_cannot_sign_in_goes_on(db: Database, tmp_path: Path, caplog: Any) -> None:
    def broken() -> list[str]:
        raise Unavailable("The training side did not start.")

    attendance = Attendance(Workers(db), "w", broken, tmp_path / health.BEAT)
    attendance.start()
    attendance.stop()
    assert "could not say that it lives" in caplog.text
    assert not (tmp_path / health.BEAT).exists()


def test_the_health_check_of_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURIAN_DATA", str(tmp_path))
    assert health.main("worker") == 1
    beat = tmp_path / health.BEAT
    beat.touch()
    assert health.main("worker") == 0
    os.utime(beat, (time.time() - health.SILENT_SECONDS - 1,) * 2)
    assert health.main("worker") == 1


def test_the_health_check_of_a_service_that_is_not_there() -> None:
    assert health.main("api", "127.0.0.1:9") == 1
