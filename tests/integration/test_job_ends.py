"""A job ends once, whoever says so; who waits is served in turn; and the database itself keeps that."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError

from app.db import queue
from app.db.database import Database
from app.db.tables import TERMINAL, Job, JobTransition
from app.main import build
from app.runners.inline import InlineRunner
from app.services.jobs import JobRequest
from app.settings import Settings
from tests.job_rows import job_row
from tests.postgres import needs_postgres, postgres
from tests.support import TEXTS, jsonl

RACES = 500


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[needs_postgres, pytest.mark.nightly])])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'durian.sqlite'}")
        # Races are what is tested here, not durability: without syncs there is time for many.
        event.listen(database.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        database.migrate()
        yield database
        database.close()
        return
    with postgres() as (url, _):
        database = Database(url)
        database.migrate()
        yield database
        database.close()


def add(db: Database, *rows: Job) -> None:
    with db.write() as session:
        for row in rows:
            session.add(row)
            session.flush()


def claim(db: Database, now: float = 1.0) -> Job | None:
    with db.write() as session:
        return queue.claim(session, "w", now, 15.0)


def transitions(db: Database, job_id: str) -> list[tuple[str | None, str]]:
    with db.read() as session:
        query = select(JobTransition).where(JobTransition.job_id == job_id).order_by(JobTransition.seq)
        return [(row.before, row.after) for row in session.scalars(query)]


def test_the_database_lets_no_statement_end_a_job_twice(db: Database) -> None:
    add(db, job_row("a"))
    job = claim(db)
    assert job is not None
    with db.write() as session:
        assert queue.finish(session, "a", job.fence, "succeeded", {})
    for status in ("failed", "cancelled", "queued", "running"):
        with pytest.raises(IntegrityError), db.write() as session:
            session.execute(text("UPDATE jobs SET status = :status"), {"status": status})
    with db.write() as session:
        session.execute(text("UPDATE jobs SET metadata = '{}'"))
    assert transitions(db, "a") == [(None, "queued"), ("queued", "running"), ("running", "succeeded")]


def test_cancel_against_finish_five_hundred_times(db: Database) -> None:
    add(db, *[job_row(f"j{i}") for i in range(RACES)])
    with db.write() as session:
        session.execute(text("UPDATE jobs SET status = 'running', fence = 1"))
    together = threading.Barrier(2)
    won: Counter[str] = Counter()

    def run(name: str) -> None:
        for i in range(RACES):
            together.wait(30)
            with db.write() as session:
                if name == "cancel":
                    ended = queue.cancel(session, f"j{i}", 1.0)
                else:
                    ended = queue.finish(session, f"j{i}", 1, "succeeded", {})
            won[name] += ended

    threads = [threading.Thread(target=run, args=(name,)) for name in ("cancel", "finish")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won.values()) == RACES
    with db.read() as session:
        ends = select(JobTransition.job_id).where(JobTransition.after.in_(TERMINAL))
        assert Counter(Counter(session.scalars(ends)).values()) == {1: RACES}


def test_tenants_take_turns(db: Database) -> None:
    add(db, *[job_row(f"busy-{i}", "busy") for i in range(5)], job_row("quiet-0", "quiet"))
    add(db, job_row("quiet-1", "quiet"))
    order = []
    for now in range(1, 8):
        job = claim(db, float(now))
        assert job is not None
        order.append(job.id)
    assert order[:4] == ["busy-0", "quiet-0", "busy-1", "quiet-1"]
    assert order[4:] == ["busy-2", "busy-3", "busy-4"]
    assert claim(db) is None


def test_workers_that_claim_at_once_never_get_one_job_twice(db: Database) -> None:
    add(db, *[job_row(f"j{i}", f"t{i % 3}") for i in range(30)])
    got: list[str] = []

    def run() -> None:
        while (job := claim(db)) is not None:
            got.append(job.id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run()  # one who found a row locked by another may have gone home early
    assert sorted(got) == sorted(f"j{i}" for i in range(30))


def test_a_late_fence_changes_nothing(db: Database) -> None:
    add(db, job_row("a"))
    first = claim(db)
    assert first is not None
    with db.write() as session:
        [lease] = queue.leases(session)
        assert queue.lapse(session, lease)
    second = claim(db)
    assert second is not None
    assert second.fence > first.fence
    with db.write() as session:
        assert not queue.renew(session, "a", first.fence, 9.0)
        assert not queue.holds(session, "a", first.fence)
        assert not queue.retry(session, "a", first.fence, 0.0)
        assert not queue.release(session, "a", first.fence)
        assert not queue.finish(session, "a", first.fence, "succeeded", {})
        assert not queue.lapse(session, lease)
        assert queue.holds(session, "a", second.fence)


def test_fifty_submissions_with_one_key_are_one_job(tmp_path: Path) -> None:
    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    services = process.services
    file = services.files.create("default", "t.jsonl", jsonl(TEXTS), "fine-tune", None, None)
    together = threading.Barrier(50)
    answers: list[Any] = []

    def submit() -> None:
        together.wait(30)
        request = JobRequest("text/minilm-l6", file.id, suffix="m")
        answers.append(services.jobs.create("default", request, "one key").id)

    services.methods.all()
    threads = [threading.Thread(target=submit) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 50
    assert len(set(answers)) == 1
    assert len(services.jobs.list("default", None, 100, {}).rows) == 1
    process.close()
