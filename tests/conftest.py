"""`DURIAN_TEST_DATABASE=postgresql pytest ...`: services in the process get databases of a PostgreSQL."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest

from app.settings import Settings
from tests.postgres import new_database, postgres

ON_POSTGRESQL = os.environ.get("DURIAN_TEST_DATABASE") == "postgresql"
OF_SQLITE = {"test_a_key_is_kept_only_as_a_hash"}
"""Tests that read SQLite's file."""


def pytest_configure(config: pytest.Config) -> None:
    if ON_POSTGRESQL:  # a database that a test leaves open is no fault of what it tests
        config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ON_POSTGRESQL and item.name in OF_SQLITE:
            item.add_marker(pytest.mark.skip(reason="reads SQLite's file"))


@pytest.fixture(scope="session", autouse=ON_POSTGRESQL)
def every_database_on_postgresql() -> Iterator[None]:
    """A data folder still means a database of its own."""
    made: dict[str, str] = {}
    with postgres() as (server, _), pytest.MonkeyPatch.context() as patch:

        def database_url(settings: Settings) -> str:
            name = "d" + hashlib.sha256(str(settings.data.resolve()).encode()).hexdigest()[:32]
            if name not in made:
                made[name] = new_database(server, name)
            return settings.database or made[name]

        patch.setattr(Settings, "database_url", property(database_url))
        yield
