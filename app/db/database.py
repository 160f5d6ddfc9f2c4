"""Connections and transactions. One use case, one transaction, committed at the edge."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.db.audit import WriteSession
from app.db.postgresql import open_postgresql
from app.db.trouble import Trouble, named
from models.errors import Conflict

# Below this release write-ahead logging with two processes can corrupt the file.
_WAL_SAFE = (3, 51, 3)
_MIGRATIONS = Path(__file__).parent / "migrations"

PATIENCE_SECONDS = 5.0
"""How long a transaction waits for a lock or a connection."""

HASTY_SECONDS = 0.05
PROBE_SECONDS = 1.0
_OURS = (IntegrityError, DataError, ProgrammingError)
"""Errors of a statement, not of the database."""


class Database:
    """`read()` and `write()` give sessions; a write commits when its block ends without an error.

    Both raise Unavailable `database` while it is locked or away, and InsufficientStorage `disk_full`;
    `trouble` tells whether that is so now.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.trouble = Trouble()
        self.engine = _open(url, PATIENCE_SECONDS)
        self._writer = self.engine.execution_options(durian_write=True)
        self._hasty = _open(url, HASTY_SECONDS) if self.embedded else self.engine
        self._prober = _open(url, PROBE_SECONDS) if self.embedded else self.engine

    @property
    def embedded(self) -> bool:
        """Whether it is a file of this data folder."""
        return make_url(self.url).get_backend_name() == "sqlite"

    @property
    def file(self) -> Path | None:
        """Where it is, if it is a file."""
        path = make_url(self.url).database if self.embedded else None
        return Path(path) if path and path != ":memory:" else None

    @contextmanager
    def read(self, *, hasty: bool = False) -> Iterator[Session]:
        """`hasty`: for who holds up others while it waits. That it had to give up is no trouble yet."""
        engine = self._hasty if hasty else self.engine
        with self._reported("hasty" if hasty else "read"), Session(engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with (
            self._reported("write"),
            WriteSession(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def probe(self) -> None:
        """Take the lock that a write takes, and let it go. Raises as `write`, and sooner."""
        with (
            self._reported("write"),
            self._prober.execution_options(durian_write=True).connect() as connection,
        ):
            connection.execute(text("SELECT 1"))
            connection.commit()

    @contextmanager
    def _reported(self, kind: str) -> Iterator[None]:
        try:
            yield
        except _OURS:
            raise
        except (DatabaseError, InterfaceError, PoolTimeout) as error:
            problem = named(error)
            if kind != "hasty":
                self.trouble.note(kind, problem.code)
            raise problem from error
        self.trouble.over(kind)

    def migrate(self) -> None:
        """Bring the schema to the newest revision. Raises Conflict where it is of a later release."""
        with self._reported("write"), self._writer.connect() as connection:
            revision = _revision(connection)
            _check_known(revision)
            if revision != _newest():
                _upgrade(connection)
            connection.commit()

    def close(self) -> None:
        self.engine.dispose()
        self._hasty.dispose()
        self._prober.dispose()


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


def _open(url: str, patience: float) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url, patience)
    return open_postgresql(url, patience)


def _sqlite(url: str, patience: float) -> Engine:
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    connect = {"timeout": patience, "check_same_thread": False}
    # Several threads wait for one lock: each may hold a connection for as long as one is patient.
    engine = create_engine(url, connect_args=connect, pool_timeout=PATIENCE_SECONDS, max_overflow=60)
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
