"""A front-end's outermost layer: no request sees a catalogue older than what another process has answered."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from app.frontends.board import Board
from app.frontends.line import Line
from app.services.registry import Registry
from models.errors import DurianError

_BEAT_SECONDS = 0.5
_AGAIN_SECONDS = 0.5
log = logging.getLogger(__name__)


class Fresh:
    """Wraps the app. The line to the engine, and this process's beat, live as long as it does."""

    def __init__(self, app: ASGIApp, registry: Registry, line: Line, board: Board) -> None:
        self.app = app
        self._registry = registry
        self._line = line
        self._board = board
        self._reading = asyncio.Lock()
        self._not_before = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if self._board.newest() > self._registry.change:
            await self._read()
        await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._line.start()
        beat = asyncio.create_task(self._beat())
        try:
            await self.app(scope, receive, send)
        finally:
            beat.cancel()
            await self._line.close()

    async def _beat(self) -> None:
        while True:
            self._board.beat()
            await asyncio.sleep(_BEAT_SECONDS)

    async def _read(self) -> None:
        """Bring the catalogue up to date. What is in memory goes on serving while the database is away."""
        async with self._reading:
            if self._board.newest() <= self._registry.change or time.monotonic() < self._not_before:
                return
            try:
                await asyncio.to_thread(self._registry.refresh)
            except DurianError as error:
                log.warning("changes of models cannot be read: %s", error.code)
                self._not_before = time.monotonic() + _AGAIN_SECONDS
