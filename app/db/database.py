"""Connections and transactions. One use case, one transaction, committed at the edge."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.postgresql import open_postgresql
from models.errors import Conflict, Unavailable

# Below this release write-ahead logging with two processes can corrupt the file.
_WAL_SAFE = (3, 51, 3)
_MIGRATIONS = Path(__file__).parent / "migrations"
_PATIENCE_SECONDS = 5.0


class Database:
    """`read()` and `write()` give sessions; a write commits when its block ends without an error."""

    def __init__(self, url: str) -> None:
        self.url = url
        embedded = make_url(url).get_backend_name() == "sqlite"
        self.engine = _sqlite(url) if embedded else open_postgresql(url, _PATIENCE_SECONDS)
        self._writer = self.engine.execution_options(durian_write=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with _reported(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with _reported(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the schema to the newest revision. Raises Conflict where it is of a later release."""
        with _reported(), self._writer.connect() as connection:
            revision = _revision(connection)
            _check_known(revision)
            if revision != _newest():
                _upgrade(connection)
            connection.commit()

    def close(self) -> None:
        self.engine.dispose()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _revisions() -> list[str]:
    """Revisions are numbered files: their numbers, in order."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _newest() -> str:
    return _revisions()[-1]


def _check_known(revision: str | None) -> None:
    if revision is not None and revision not in _revisions():
        raise Conflict(
            f"The database has schema {revision}, which this release does not know: it goes to {_newest()}; "
            "start the release that made it, or restore a backup made before.",
            code="schema_too_new",
        )


def _upgrade(connection: Connection) -> None:
    # Imported here: an up-to-date schema, the common case, is spared a second of start-up.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise Unavailable("The database is busy or away; try again shortly.", code="database") from error


def _sqlite(url: str) -> Engine:
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _PATIENCE_SECONDS, "check_same_thread": False})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:
    # SQLAlchemy, not the driver, says when a transaction begins.
    connection.isolation_level = None
    journal = "WAL" if sqlite3.sqlite_version_info >= _WAL_SAFE else "DELETE"
    for pragma in (f"journal_mode={journal}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A deferred transaction that turns into a write fails at once when another writer is ahead of it.
    write = connection.get_execution_options().get("durian_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
