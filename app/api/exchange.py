"""One request and its answer on a connection: Uvicorn's, with fewer system calls and a word when it is cut.

Uvicorn writes the head of an answer by itself, which is a system call and a packet for each answer more than
it takes. Here the head of an answer whose length is known leaves with the first of its body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

EXTENSION = "durian.exchange"
"""Where a scope's `extensions` have it; and where a `http.response.start` may have the whole body, which
spares a second message its way through all layers."""

_EMPTY = (204, 304)


class Whole(Response):
    """An answer of JSON that is there already."""

    def __init__(self, content: bytes) -> None:
        self.status_code, self.background, self.body = 200, None, content
        self.raw_headers = [
            (b"content-length", b"%d" % len(content)),
            (b"content-type", b"application/json"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if EXTENSION not in scope.get("extensions", ()):
            await super().__call__(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send({**start, EXTENSION: self.body})


class Exchange(RequestResponseCycle):
    """`on_departure` is called when the client has gone before it was answered."""

    on_departure: Callable[[], None] | None = None
    task: asyncio.Task[None] | None = None
    """What answers it."""

    _head = b""

    def depart(self) -> None:
        """The connection is lost."""
        if self.on_departure is not None and not self.response_complete:
            self.on_departure()

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected http.response.start, not {kind}.")
            self._start(message["status"], message.get("headers", ()))
            if EXTENSION in message:
                self._continue(message[EXTENSION], more=False)
        elif self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"Did not expect {kind}.")
        else:
            self._continue(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, given: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started, self.waiting_for_100_continue = True, False
        headers = [*self.default_headers, *given]
        if HEADER_RE.search(b"".join([name for name, _ in headers])):
            raise RuntimeError("A header's name has a character that it must not have.")
        if HEADER_VALUE_RE.search(b"".join([value for _, value in headers])):
            raise RuntimeError("A header's value has a character that it must not have.")
        lines, closing = [STATUS_LINE[status]], False
        for name, value in headers:
            name = name.lower()
            if name == b"content-length" and self.chunked_encoding is None:
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self.expected_content_length, self.chunked_encoding = 0, True
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive, closing = False, True
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive and not closing:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _EMPTY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        if self.chunked_encoding:  # of a stream: its first words may be long in coming
            self._write(b"")

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body += b"" if more else b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The body is longer than its Content-Length.")
        self._write(body)
        if not more:
            self._end()

    def _write(self, body: bytes) -> None:
        if self._head or body:
            self.transport.write(self._head + body if self._head else body)
            self._head = b""

    def _end(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("The body is shorter than its Content-Length.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
