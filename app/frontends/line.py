"""A front-end's end of the connection to the engine's process: many requests in flight, one write a turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future as ThreadFuture
from itertools import count
from typing import Any, TypeVar, cast

from app.frames import Frame, Frames, Header, encode, error_of
from app.frontends.messages import away
from app.frontends.sockets import connected
from models.errors import RateLimited

MAX_IN_FLIGHT = 16_384
"""Requests of one front-end that the engine has at a time: one that hangs must not fill the memory."""

_AGAIN_SECONDS = 0.05
_Status = Callable[[Header], None]
T = TypeVar("T")
log = logging.getLogger(__name__)


class Outbox:
    """Frames to send: all that come up in one turn of the event loop leave in one write."""

    def __init__(self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._frames: list[bytes] = []

    def put(self, frame: bytes) -> None:
        """Send it with the others of this turn."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame)

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if not self._transport.is_closing():
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))


class Line(asyncio.Protocol):
    """Connects, and connects again, until closed. `up` while the engine takes requests.

    Requests that are in flight when the connection breaks fail with Unavailable, and so do all others
    until the engine has said how it is: `told` gets each such status. Everything but `from_thread` and `tell`
    is for the event loop's thread.
    """

    def __init__(self, address: str, told: _Status) -> None:
        self.up = False
        self._address = address
        self._told = told
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._frames = Frames()
        self._outbox: Outbox | None = None
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._loop = asyncio.get_running_loop()
        self._keeper = self._loop.create_task(self._keep())

    async def close(self) -> None:
        """Hang up."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._transport is not None:
            self._transport.close()

    async def ask(self, header: Header, *payload: bytes) -> Frame:
        """The engine's reply. Raises what the engine raised; Unavailable where it is away or goes away."""
        if self._outbox is None or not self.up:
            raise away()
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise RateLimited("Too many requests wait for the engine; try again.", code="queue_full")
        id, reply = next(self._ids), asyncio.get_running_loop().create_future()
        self._waiting[id] = reply
        self._outbox.put(encode({"id": id, **header}, *payload))
        try:
            frame: Frame = await reply
        except asyncio.CancelledError:
            if self._waiting.pop(id, None) is not None and self._outbox is not None:
                self._outbox.put(encode({"do": "cancel", "id": id}))
            raise
        error = error_of(frame.header)
        if error is not None:
            raise error
        return frame

    def from_thread(self, work: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        """Run in the event loop what a thread waits for. Raises Unavailable before `start`."""
        if self._loop is None:
            work.close()
            raise away()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def tell(self, header: Header) -> None:
        """Say what needs no reply, from any thread; lost where the engine is away."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, encode(header))

    def _tell(self, frame: bytes) -> None:
        if self._outbox is not None:
            self._outbox.put(frame)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._lost = loop.create_future()
            try:
                await loop.create_unix_connection(lambda: self, sock=connected(self._address))
                await self._lost
            except OSError:
                log.debug("the engine's process cannot be reached yet")
            await asyncio.sleep(_AGAIN_SECONDS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._frames, self._transport = Frames(), cast(asyncio.Transport, transport)
        self._outbox = Outbox(self._transport, asyncio.get_running_loop())

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            if "status" in frame.header:
                self.up = not frame.header["closing"]
                self._told(frame.header)
                continue
            reply = self._waiting.pop(frame.header["id"], None)
            if reply is not None and not reply.done():
                reply.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.up, self._outbox, self._transport = False, None, None
        waiting, self._waiting = self._waiting, {}
        for reply in waiting.values():
            if not reply.done():
                reply.set_exception(away())
        if waiting:
            log.warning("the engine went away with %d requests in flight", len(waiting))
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
