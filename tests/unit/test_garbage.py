"""What a server has loaded is never looked through again for garbage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.drain import Server
from app.services.health import Health


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody asks")


async def started() -> int:
    """Objects set aside by a server that has started."""
    config = uvicorn.Config(nothing, port=0, lifespan="off", log_config=None)
    config.load()
    server = Server(config, cast(Health, None), 0.0)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    aside = gc.get_freeze_count()
    await server.shutdown()
    return aside


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_a_server_that_has_started_sets_aside_what_is_there() -> None:
    before = len(gc.get_objects())
    assert before > 10_000
    assert asyncio.run(started()) > 0.9 * before
    assert len(gc.get_objects()) < 0.1 * before
