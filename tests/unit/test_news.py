"""Who looks again and again at the database asks it first whether anything was committed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import event, select

from app import worker as module
from app.db.database import Database
from app.db.news import News
from app.db.tables import WorkerSeen
from app.main import build
from app.runners.inline import InlineRunner
from app.services.ids import now
from app.services.leases import Leases
from app.services.workers import Workers
from app.settings import Settings
from tests.postgres import needs_postgres, new_database, postgres
from tests.unit.test_registry import Changes, following
from tests.unit.test_workers import job_of

_FROM_OUTSIDE = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 1')"


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    """Those that are sent to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    yield sent
    event.remove(db.engine, "before_cursor_execute", note)


def change(db: Database) -> None:
    Workers(db).announce("somebody", [])


def settled(db: Database) -> News:
    news = News(db)
    assert news.come(), "at first, everything is new"
    news.heard()
    assert not news.come()
    return news


def test_a_commit_is_news_until_it_was_looked_at(db: Database) -> None:
    news = settled(db)
    change(db)
    assert news.come()
    assert news.come(), "nobody has looked yet"
    news.heard()
    assert not news.come()


def test_a_commit_of_another_process_is_news(db: Database) -> None:
    news = settled(db)
    subprocess.run([sys.executable, "-c", _FROM_OUTSIDE, str(db.file)], check=True)
    assert news.come()


def test_a_commit_while_one_looks_is_news(db: Database) -> None:
    news = settled(db)
    change(db)
    assert news.come()
    change(db)
    news.heard()
    assert news.come()


def test_what_is_taken_back_is_no_news(db: Database) -> None:
    news = settled(db)
    with suppress(ZeroDivisionError), db.write() as session:
        session.add(WorkerSeen(owner="nobody", seen_at=0.0, methods=[]))
        session.flush()
        raise ZeroDivisionError
    with db.read() as session:
        session.execute(select(WorkerSeen)).all()
    db.probe()
    assert not news.come()


def test_trouble_is_left_to_the_look_to_find(db: Database) -> None:
    news = settled(db)
    lock = sqlite3.connect(str(db.file), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    assert news.come()
    lock.close()
    assert news.come(), "it may have changed while nobody could see it"
    news.heard()
    assert not news.come()


def test_no_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    news = News(Database(f"sqlite:///{tmp_path / 'gone.sqlite'}"))
    assert news.come()
    assert not list(tmp_path.iterdir())


@needs_postgres
def test_postgresql_cannot_say() -> None:
    with postgres() as (server, _):
        db = Database(new_database(server))
        news = News(db)
        news.come()
        news.heard()
        assert news.come()
        db.close()


@pytest.mark.parametrize("looker", [lambda db: following(db).refresh, lambda db: Leases(db, 15.0).look])
def test_a_second_look_at_the_same_asks_nothing(
    db: Database, looker: Callable[[Database], Callable[[], object]]
) -> None:
    look = looker(db)
    look()
    with statements(db) as sent:
        look()
    assert sent == []
    change(db)
    with statements(db) as sent:
        look()
    assert sent


def test_a_look_that_failed_is_made_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = following(db)
    registry.refresh()
    changes = Changes(db, seed=1)
    for _ in range(5):
        changes.make()
    with monkeypatch.context() as patch:
        patch.setattr("app.services.registry._numbers", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registry.refresh()
    registry.refresh()
    assert registry.catalogue.snapshot("default")


def test_an_idle_worker_asks_nothing_and_takes_what_another_process_submits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    db, worker = process.services.db, process.worker
    slept, taken, rounds = threading.Semaphore(0), threading.Event(), 5

    class Wait(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            slept.release()
            return super().wait(timeout)

    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.01)
    monkeypatch.setattr(worker, "_wake", Wait())
    monkeypatch.setattr(worker, "_work", lambda claim: taken.set())
    worker.methods()  # which takes its time, once
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    assert slept.acquire(timeout=10)
    with statements(db) as sent:
        assert all(slept.acquire(timeout=10) for _ in range(rounds))
    assert sent == []
    with db.write() as session:
        later = job_of("logistic")
        later.not_before = now() + 0.3  # until then it is looked at in vain, and nobody commits anything
        session.add(later)
    assert taken.wait(10)
    worker.stop()
    thread.join()
    process.close()
