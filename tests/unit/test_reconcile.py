"""What the first process on a data folder clears away, and that a second one leaves it alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.db import queue
from app.db.database import Database
from app.db.tables import Job
from app.main import Ground
from app.services.leases import Leases
from app.services.sweep import Sweeper
from app.settings import Settings
from models.errors import Unavailable
from models.store import TEMPORARY, BlobStore
from tests.job_rows import job_row


def leftovers(settings: Settings) -> list[Path]:
    shard = settings.blobs / "ab"
    shard.mkdir(parents=True, exist_ok=True)
    (shard / f"{TEMPORARY}half").write_bytes(b"half")
    aside = settings.artefacts / "cd" / f"{TEMPORARY}aside"
    (aside / "digest").mkdir(parents=True, exist_ok=True)
    work = settings.work / "ftjob-1-1" / "output"
    work.mkdir(parents=True, exist_ok=True)
    return [shard / f"{TEMPORARY}half", aside, work.parent]


def running_job(db: Database) -> None:
    with db.write() as session:
        session.add(job_row("ftjob-1"))
        session.flush()
        assert queue.claim(session, "gone", 1.0, 1e9) is not None


def status(db: Database) -> str:
    with db.read() as session:
        return str(session.query(Job.status).scalar())


def test_the_first_process_clears_away_what_nobody_owns(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    ground = Ground.of(settings)
    running_job(ground.db)
    ground.close()
    left = leftovers(settings)
    again = Ground.of(settings)
    assert [path for path in left if path.exists()] == []
    assert status(again.db) == "queued"
    again.close()


def test_a_second_process_leaves_what_the_first_may_be_writing(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    first = Ground.of(settings)
    running_job(first.db)
    left = leftovers(settings)
    second = Ground.of(settings)
    assert all(path.exists() for path in left)
    assert status(second.db) == "running"
    first.close()
    second.close()


def test_a_database_elsewhere_may_have_workers_who_do_not_share_the_lock(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "a", database=f"sqlite:///{tmp_path / 'shared.sqlite'}")
    ground = Ground.of(settings)
    running_job(ground.db)
    ground.close()
    again = Ground.of(settings)
    assert status(again.db) == "running"
    again.close()


def test_a_sweep_gives_back_the_name_of_what_was_touched_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=tmp_path)
    ground = Ground.of(settings)
    store = BlobStore(settings.blobs)
    digest = store.put(b"again")
    sweeper = Sweeper(settings, ground.db, grace=-1.0)

    def named_too_late() -> set[str]:
        store.put(b"again")  # after the sweep has listed it, before it goes
        sweeper.grace = 3_600.0
        return set()

    monkeypatch.setattr(sweeper, "_named", named_too_late)
    assert sweeper.sweep() == 0
    assert store.get(digest) == b"again"
    assert not list(settings.blobs.rglob(f"{TEMPORARY}*"))
    ground.close()


@pytest.mark.parametrize("jump", [-3_600.0, 3_600.0], ids=["an hour back", "an hour on"])
def test_a_jump_of_the_clock_takes_no_lease_and_keeps_none(tmp_path: Path, jump: float) -> None:
    db = Database(f"sqlite:///{tmp_path / 'durian.sqlite'}")
    db.migrate()
    running_job(db)
    clock, wall = [0.0], 1_000.0
    leases = Leases(db, 15.0, clock=lambda: clock[0])
    for clock[0] in (0.0, 5.0, 10.0, 15.0, 20.0, 25.0):
        wall += 5.0 + (jump if clock[0] == 10.0 else 0.0)
        with db.write() as session:
            assert queue.renew(session, "ftjob-1", 1, wall + 15.0)
        assert leases.look() == [], "who renews keeps it, whatever the clock on the wall says"
    assert [leases.look() for clock[0] in (30.0, 35.0, 40.5)][-1] == ["ftjob-1"]
    with db.write() as session:
        assert queue.claim(session, "other", wall + jump, 15.0) is not None
    db.close()


def test_who_is_in_haste_gives_up_soon_and_that_is_no_trouble(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'durian.sqlite'}")
    db.migrate()
    lock = sqlite3.connect(tmp_path / "durian.sqlite", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable), db.read(hasty=True) as session:
        queue.leases(session)
    assert db.trouble.degraded() == []
    with pytest.raises(Unavailable):
        db.probe()
    assert db.trouble.degraded() == ["database"]
    lock.close()
    db.probe()
    assert db.trouble.degraded() == []
    db.close()


def test_a_retry_does_not_wait_for_a_clock_that_was_set_back(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'durian.sqlite'}")
    db.migrate()
    with db.write() as session:
        session.add(job_row("ftjob-1", not_before=7_200.0 + 4.0))
    with db.write() as session:
        assert queue.claim(session, "w", 7_200.0, 15.0) is None
        assert queue.claim(session, "w", 3_600.0, 15.0) is not None
    db.close()
