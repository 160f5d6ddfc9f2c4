"""`durian serve` as its users start it: a process of its own, reached over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.client import Client
from app.demo.service import temporary_service


@pytest.fixture(scope="session")
def durian() -> Iterator[Client]:
    with temporary_service() as client:
        yield client


@pytest.fixture(scope="session")
def url(durian: Client) -> str:
    return durian.url
