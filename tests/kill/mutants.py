"""Faults seeded into the service: a harness that does not find each of them out proves nothing."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def ack_before_commit() -> None:
    """An upload is acknowledged half a second before it is committed."""
    from app.services.files import Files

    create = Files.create

    def early(self: Any, *arguments: Any, **options: Any) -> Any:
        real = self.db
        later = Files(_Delayed(real), self.blobs, self.stored)
        return create(later, *arguments, **options)

    Files.create = early  # type: ignore[method-assign]


class _Delayed:
    def __init__(self, db: Any) -> None:
        self._db = db

    def write(self) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def add(self, row: Any) -> None:
        def commit() -> None:
            time.sleep(0.5)
            with self._db.write() as session:
                session.add(row)

        threading.Thread(target=commit, daemon=True).start()


def in_place() -> None:
    """A blob is written under its final name, not renamed to it."""
    from models import store

    def write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            time.sleep(0.05)
            file.write(data[len(data) // 2 :])

    store.write_file = write


def folder_in_place() -> None:
    """An artefact is copied to its final name file by file."""
    from app.services import artefacts

    def publish(source: Path, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(source.iterdir()):
            time.sleep(0.05)
            shutil.copy(file, target)
        shutil.rmtree(source)

    artefacts.publish_folder = publish


def no_fence() -> None:
    """No write looks at the fence of its claim, and the database does not mind either."""
    from sqlalchemy import update

    from app.db import queue
    from app.db.tables import Job

    def unfenced(session: Any, job_id: str, fence: int, values: Any) -> bool:
        session.execute(update(Job).where(Job.id == job_id).values(**values))
        return True

    _loosen_every_database()
    queue.holds = lambda *_: True
    queue._set = unfenced


def two_ends() -> None:
    """A cancel ends a job that has ended."""
    from sqlalchemy import update

    from app.db import queue
    from app.db.tables import Job

    def cancel(session: Any, job_id: str, now: float) -> bool:
        session.execute(update(Job).where(Job.id == job_id).values(status="cancelled", finished_at=now))
        return True

    _loosen_every_database()
    queue.cancel = cancel


def _loosen_every_database() -> None:
    from app.db.database import Database

    migrate = Database.migrate

    def loose(self: Any) -> None:
        migrate(self)
        _loosen(self.url.removeprefix("sqlite:///"))

    Database.migrate = loose  # type: ignore[method-assign]


def _loosen(path: str) -> None:
    """Take away what the database itself keeps: the trigger, and one version a job."""
    with suppress(sqlite3.Error), sqlite3.connect(path, timeout=5) as db:
        db.execute("DROP TRIGGER IF EXISTS job_ends_once")
        [[sql]] = db.execute("SELECT sql FROM sqlite_master WHERE name = 'versions'").fetchall()
        if "UNIQUE (job_id)" in sql:
            db.execute("ALTER TABLE versions RENAME TO strict_versions")
            db.execute(sql.replace(", \n\tUNIQUE (job_id)", ""))
            db.execute("INSERT INTO versions SELECT * FROM strict_versions")
            db.execute("DROP TABLE strict_versions")


def lease_ignored() -> None:
    """Nobody takes over the job of a worker that is gone."""
    from app.services import reconcile
    from app.services.leases import Leases

    Leases.look = lambda self: []  # type: ignore[method-assign]
    reconcile._give_back = lambda db: None


def no_reconcile() -> None:
    """A start clears nothing away."""
    import app.main

    app.main.reconcile = lambda settings, db, presence: presence.settle()


def child_not_retried() -> None:
    """A job whose child is killed fails."""
    from app import worker

    worker.is_its_own = lambda error: True


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        ack_before_commit,
        in_place,
        folder_in_place,
        no_fence,
        two_ends,
        lease_ignored,
        no_reconcile,
        child_not_retried,
    )
}
