"""What the use cases may rely on, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, select, text

from app.db import database as module
from app.db import queue
from app.db.database import Database
from app.db.tables import Base, Job, Model
from models.errors import Conflict, Unavailable
from tests.unit.test_workers import job_of


def test_the_schema_goes_up_and_down(open_database: Callable[[], Database]) -> None:
    db = open_database()
    assert set(inspect(db.engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    with db.engine.execution_options(durian_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(db.engine).get_table_names() == ["alembic_version"]
    db.migrate()
    assert set(inspect(db.engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_the_schema_is_that_of_the_tables(open_database: Callable[[], Database]) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with open_database().engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_several_services_may_start_on_an_empty_database_at_once(
    open_database: Callable[[], Database],
) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len([future.result() for future in [pool.submit(open_database) for _ in range(4)]]) == 4


def test_a_schema_of_a_later_release_is_refused(open_database: Callable[[], Database], url: str) -> None:
    with open_database().write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    later = Database(url)
    with pytest.raises(Conflict, match="schema 9999"):
        later.migrate()
    later.close()


def test_writers_take_turns(open_database: Callable[[], Database]) -> None:
    """What reads, adds one and writes: two at once must count as two."""
    databases = [open_database() for _ in range(4)]
    _add_model(databases[0])

    def raise_it(db: Database) -> None:
        for _ in range(10):
            _count(db)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(raise_it, databases))
    with databases[0].read() as session:
        assert session.scalar(select(Model.last_version)) == 40


def _add_model(db: Database) -> None:
    with db.write() as session:
        session.add(Model(id="model-1", tenant="default", name="m", created_at=0.0, last_version=0))


def _count(db: Database) -> None:
    with db.write() as session:
        session.get_one(Model, "model-1").last_version += 1


def test_every_job_is_claimed_once(open_database: Callable[[], Database]) -> None:
    databases = [open_database() for _ in range(4)]
    with databases[0].write() as session:
        session.add_all([_numbered(i) for i in range(40)])
    claimed: Counter[str] = Counter()

    def claim_all(db: Database) -> None:
        while True:
            with db.write() as session:
                job = queue.claim(session, "worker", 1.0, 60.0)
            if job is None:
                return
            claimed[job.id] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(claim_all, databases))
    assert claimed == Counter({f"job-{i}": 1 for i in range(40)})


def _numbered(i: int) -> Job:
    job = job_of("auto")
    job.id = f"job-{i}"
    return job


def test_a_reader_sees_one_moment(open_database: Callable[[], Database]) -> None:
    """Between two statements of one read another process may have written."""
    db, other = open_database(), open_database()
    _add_model(db)
    with db.read() as session:
        assert session.scalar(select(Model.last_version)) == 0
        thread = threading.Thread(target=_count, args=(other,))
        thread.start()
        if db.engine.dialect.name == "postgresql":  # SQLite's rollback journal makes the writer wait instead
            thread.join()
        assert session.scalar(select(Model.last_version)) == 0
    thread.join()
    with db.read() as session:
        assert session.scalar(select(Model.last_version)) == 1


def test_a_database_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    db = Database(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(Unavailable, match="away"), db.read() as session:
        session.execute(text("SELECT 1"))
    db.close()
