"""The engine's end: takes the connections of front-ends and answers what they ask."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from app.frames import Frame, Frames, encode, error_header
from app.frontends.desk import EMPTY, Desk
from app.frontends.line import Outbox
from app.frontends.sockets import of_this_user
from app.main import Process
from models.errors import DurianError

STATUS_SECONDS = 0.5
log = logging.getLogger(__name__)


class DeviceLost(Exception):
    """The device no longer answers, or answers wrongly."""


class Connection(asyncio.Protocol):
    """One front-end. What it asks runs as tasks, and ends with the connection."""

    def __init__(self, desk: Desk, connections: set[Connection]) -> None:
        self._desk = desk
        self._connections = connections
        self._frames = Frames()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._outbox: Outbox | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not of_this_user(transport.get_extra_info("socket")):
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._outbox = Outbox(self._transport, asyncio.get_running_loop())
        self._connections.add(self)
        self.send(self._desk.status())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._outbox = None
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for frame in self._frames.feed(data):
            do, id = frame.header["do"], frame.header.get("id")
            if id is None:
                self._desk.told[do](frame.header)
            elif do == "cancel":
                if task := self._tasks.pop(id, None):
                    task.cancel()
            else:
                self._tasks[id] = loop.create_task(self._answer(id, frame))

    def close(self) -> None:
        """Hang up, after what has been sent."""
        if self._transport is not None:
            self._transport.close()

    def send(self, frame: bytes) -> None:
        if self._outbox is not None:
            self._outbox.put(frame)

    async def _answer(self, id: int, frame: Frame) -> None:
        payload = EMPTY
        try:
            header, payload = await self._desk.asked[frame.header["do"]](frame.header, frame.payload)
        except DurianError as error:
            header = error_header(error)
        except Exception:
            log.exception("the engine's process could not %s", frame.header["do"])
            header = error_header(DurianError("Something broke inside the service.", code="internal"))
        finally:
            self._tasks.pop(id, None)
        self.send(encode({"id": id, **header}, *payload))


@dataclass
class Host:
    """Serves one process to all its front-ends. `beat` is called with each status, twice a second.

    Raises DeviceLost: only a new process gets a new context of the device.
    """

    process: Process
    listening: socket.socket
    beat: Callable[[], None]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: the front-ends have gone before."""
        desk, connections = Desk(self.process), set[Connection]()
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(desk, connections), sock=self.listening
        )
        try:
            while not stop.is_set():
                if not self.process.services.health.fit:
                    raise DeviceLost
                self.beat()
                status = desk.status()
                for connection in connections:
                    connection.send(status)
                try:
                    await asyncio.wait_for(stop.wait(), STATUS_SECONDS)
                except TimeoutError:
                    continue
        finally:
            server.close()
            for connection in list(connections):
                connection.close()
