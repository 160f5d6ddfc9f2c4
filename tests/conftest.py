"""`DURIAN_TEST_DATABASE=postgresql pytest ...`: services in the process get databases of a PostgreSQL."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest

from app.settings import Settings
from tests.postgres import new_database, postgres


@pytest.fixture(scope="session", autouse=os.environ.get("DURIAN_TEST_DATABASE") == "postgresql")
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
