"""Databases of both kinds, empty or migrated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.db.database import Database
from tests.postgres import needs_postgres, new_database, postgres


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as (url, _):
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'durian.sqlite'}"
    server: str = request.getfixturevalue("server")
    return new_database(server)


@pytest.fixture
def open_database(url: str) -> Iterator[Callable[[], Database]]:
    """Gives databases of as many processes as are asked for, migrated and closed in the end."""
    opened: list[Database] = []

    def one() -> Database:
        opened.append(Database(url))
        opened[-1].migrate()
        return opened[-1]

    yield one
    for db in opened:
        db.close()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """One, on SQLite, migrated."""
    db = Database(f"sqlite:///{tmp_path / 'durian.sqlite'}")
    db.migrate()
    yield db
    db.close()
