"""Uvicorn's HTTP protocol with deadlines, for slow heads, bodies and readers, and a bound on connections.

Uvicorn waits for ever for a head, a body, and a client that does not read its answer. Here each connection
keeps the moment at which it began to wait, which costs a request next to nothing, and one clock of the server
looks at all of them twice a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.exchange import EXTENSION, Exchange
from app.errors import body_of, status_of
from app.services.ids import request_id
from app.settings import Settings
from models.errors import DurianError, InvalidRequest, RateLimited

MAX_HEAD_BYTES = 64 * 1024
_TICK_SECONDS = 0.5
_BYTES_PER_SECOND = 64 * 1024
"""A body may take as much longer as its bytes take at this rate."""

_UNWELCOME_SECONDS = 1.0
"""A connection over the bound of its address hears so with its first bytes, or after so long without any."""

_DRAIN_SECONDS = 20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Seconds for a head, a body, an answer that stands still; connections of one address, 0: no limit."""

    head: float
    body: float
    write: float
    per_address: int


Refusal = Callable[[str, str, list[tuple[bytes, bytes]]], DurianError | None]
"""From a request's method, path and headers to why it is refused unread; None: it is served."""


class Guard:
    """The connections of one server, and the clock that looks at them. `refusal` is asked of each head."""

    def __init__(self, limits: Limits, refusal: Refusal = lambda *_: None) -> None:
        self.limits = limits
        self.refusal = refusal
        self.of_address: Counter[str] = Counter()
        self.connections: set[GuardedProtocol] = set()
        self._clock: asyncio.TimerHandle | None = None

    def joined(self, connection: GuardedProtocol) -> bool:
        """Count a connection in; False where its address has too many."""
        self.connections.add(connection)
        self.of_address[connection.address] += 1
        if self._clock is None:
            self._clock = connection.loop.call_later(_TICK_SECONDS, self._tick, connection.loop)
        return not 0 < self.limits.per_address < self.of_address[connection.address]

    def left(self, connection: GuardedProtocol) -> None:
        self.connections.discard(connection)
        self.of_address[connection.address] -= 1
        if self.of_address[connection.address] <= 0:
            del self.of_address[connection.address]

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = loop.call_later(_TICK_SECONDS, self._tick, loop) if self.connections else None
        now = loop.time()
        for connection in tuple(self.connections):
            connection.look(now)


class Phase(Enum):
    """What a connection waits for."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `guard` is its server's."""

    guard: ClassVar[Guard]
    cycle: Exchange

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.phase, self.since, self.received = Phase.HEAD, self.loop.time(), 0
        self._buffered, self._stalled = 0, 0.0
        self.refused: DurianError | None = None
        self.welcome = self.guard.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.left(self)
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.depart()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self.welcome:  # not before: closed with a request unread, it would be reset, and hear nothing
            self._turn_away()
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self.received += len(data)
        super().data_received(data)
        if self.phase is Phase.HEAD and self.received > MAX_HEAD_BYTES and not self._answering():
            error = InvalidRequest("The head of the request is too large.", code="head_too_large")
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.phase is not Phase.HEAD:  # a request behind another one, without a pause
            self._enter(Phase.HEAD)

    def on_headers_complete(self) -> None:
        self._enter(Phase.BODY)
        method, url = self.parser.get_method().decode("ascii"), httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        asked_before = self._answering() or self.expect_100_continue
        self.refused = None if asked_before else self.guard.refusal(method, path, self.headers)
        if self.refused is None:
            self._begin(method, path, url)

    def _begin(self, method: str, path: str, url: Any) -> None:
        """As Uvicorn does, with an exchange of ours; and no upgrades, root paths or bounds of its own."""
        version, before = self.parser.get_http_version(), self.cycle
        exchange = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope.update(
            method=method,
            http_version=version,
            path=unquote(path) if "%" in path else path,
            raw_path=url.path,
            query_string=url.query or b"",
            extensions={EXTENSION: exchange},
        )
        self.cycle = exchange
        if before is None or before.response_complete:
            self._start_asgi_task(exchange, self.app)
        else:  # behind another one that is not answered yet
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """As Uvicorn does; and the exchange knows its task."""
        task = cycle.task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        if self.refused is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._enter(Phase.ANSWER)
        if self.refused is None:
            super().on_message_complete()
            return
        status, keep = HTTPStatus(status_of(self.refused)), self.parser.should_keep_alive()
        self.transport.write(_refusal(status, self.refused, self.url, keep_alive=keep))
        if keep:
            self.on_response_complete()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """As Uvicorn does, without a timer for each: the guard's clock ends connections that stay idle."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
        if self.phase is Phase.ANSWER and not self._answering():
            self._enter(Phase.IDLE)

    def resume_writing(self) -> None:
        self._stalled = 0.0
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self.refuse(HTTPStatus.BAD_REQUEST, InvalidRequest("This is not valid HTTP.", code="invalid_http"))

    def look(self, now: float) -> None:
        """End the connection if it waits for too long."""
        if self._writes_nothing(now):
            self.transport.abort()
        elif not self.welcome and now - self.since > _UNWELCOME_SECONDS:
            self._turn_away()
        elif self.transport.is_closing() or self.flow.read_paused or self.phase is Phase.ANSWER:
            return
        elif self.phase is Phase.IDLE:
            if now - self.since > self.timeout_keep_alive:
                self.transport.close()
        elif self.phase is Phase.HEAD:
            if now - self.since > self.guard.limits.head and not self._answering():
                self._late("The head of the request came too slowly.")
        elif now - self.since > self._body_seconds():
            self._late("The body came too slowly.")

    def refuse(self, status: HTTPStatus, error: DurianError) -> None:
        """Answer, unless this request has been answered or half answered, and close."""
        before = self.cycle is None or (self.phase is Phase.HEAD and self.cycle.response_complete)
        if before or not self.cycle.response_started:
            self.transport.write(_refusal(status, error, getattr(self, "url", b"")))
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _turn_away(self) -> None:
        error = RateLimited("This address has too many connections open.", code="connections")
        self.refuse(HTTPStatus.TOO_MANY_REQUESTS, error)

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since, self.received = phase, self.loop.time(), 0

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _body_seconds(self) -> float:
        """How long the body may take: longer with each byte of it, but not once it was refused."""
        if not self._answering():
            return self.guard.limits.body
        return self.guard.limits.body + self.received / _BYTES_PER_SECOND

    def _late(self, message: str) -> None:
        if self.phase is Phase.HEAD and not self.received:
            self.transport.close()  # nothing was asked, so there is nothing to answer
        else:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, InvalidRequest(message, code="request_timeout"))

    def _writes_nothing(self, now: float) -> bool:
        """Whether what was written to the client has not got less for too long."""
        before, self._buffered = self._buffered, self.transport.get_write_buffer_size()
        if not self._buffered or self._buffered < before or not self._stalled:
            self._stalled = now
        return bool(self._buffered) and now - self._stalled > self.guard.limits.write


def _refusal(status: HTTPStatus, error: DurianError, url: bytes, *, keep_alive: bool = False) -> bytes:
    name = request_id()
    body = orjson.dumps(body_of(error, status, url.decode("latin-1"), name))
    retry = getattr(error, "retry_after", None)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\nx-request-id: {name}\r\n"
        + ("" if keep_alive else "connection: close\r\n")
        + (f"retry-after: {retry}\r\n" if retry is not None else "")
    )
    return f"{head}\r\n".encode() + body


def server_options(settings: Settings, refusal: Refusal) -> dict[str, Any]:
    """How Uvicorn is to serve the app, with the deadlines of the settings."""
    limits = Limits(
        settings.header_seconds,
        settings.body_seconds,
        settings.write_seconds,
        settings.max_connections_per_address,
    )
    protocol = type("Protocol", (GuardedProtocol,), {"guard": Guard(limits, refusal)})
    return {
        "loop": "uvloop",
        "http": protocol,
        "ws": "none",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,  # of proxies the app's entrance hears
        "timeout_graceful_shutdown": _DRAIN_SECONDS,
    }
