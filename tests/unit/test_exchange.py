"""An answer on the wire: what is written, in how many pieces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from app.api.exchange import EXTENSION, Exchange, Whole

LENGTH = [(b"content-length", b"3"), (b"x-a", b"b")]


class Transport:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True


class Flow:
    write_paused = False


class Said:
    """An exchange, and what it has said."""

    def __init__(self, method: str = "POST", *, keep_alive: bool = True) -> None:
        self.transport, self.done = Transport(), 0
        logger = logging.getLogger("none")
        self.exchange = Exchange(
            scope={"method": method},  # type: ignore[typeddict-item]
            transport=self.transport,  # type: ignore[arg-type]
            flow=Flow(),  # type: ignore[arg-type]
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._end,
        )

    def _end(self) -> None:
        self.done += 1

    def start(self, headers: list[tuple[bytes, bytes]], status: int = 200, **more: Any) -> None:
        self.send({"type": "http.response.start", "status": status, "headers": headers, **more})

    def body(self, content: bytes = b"", *, more: bool = False) -> None:
        self.send({"type": "http.response.body", "body": content, "more_body": more})

    def send(self, message: dict[str, Any]) -> None:
        asyncio.run(self.exchange.send(message))


def test_a_head_of_known_length_leaves_with_its_body() -> None:
    said = Said()
    said.start(LENGTH)
    assert said.transport.writes == []
    said.body(b"abc")
    assert said.transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: b\r\n\r\nabc"]
    assert said.done == 1
    assert said.exchange.response_complete
    assert not said.transport.closed


def test_a_whole_answer_is_one_message() -> None:
    said = Said()
    said.start(LENGTH, **{EXTENSION: b"abc"})
    assert said.transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: b\r\n\r\nabc"]
    assert said.done == 1


def test_a_stream_begins_at_once_and_goes_on_in_chunks() -> None:
    said = Said()
    said.start([])
    assert said.transport.writes == [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    said.body(b"abc", more=True)
    said.body(b"", more=True)
    assert not said.exchange.response_complete
    said.body(b"x" * 20)
    assert said.transport.writes[1:] == [b"3\r\nabc\r\n", b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n"]


def test_a_long_body_comes_in_pieces() -> None:
    said = Said()
    said.start(LENGTH)
    said.body(b"a", more=True)
    said.body(b"bc")
    assert b"".join(said.transport.writes).endswith(b"\r\n\r\nabc")
    assert said.exchange.response_complete


def test_the_answer_to_head_has_no_body() -> None:
    said = Said("HEAD")
    said.start(LENGTH)
    said.body(b"abc")
    assert said.transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: b\r\n\r\n"]


def test_an_empty_answer_says_nothing_of_chunks() -> None:
    said = Said()
    said.start([], status=204)
    said.body()
    assert said.transport.writes == [b"HTTP/1.1 204 No Content\r\n\r\n"]


@pytest.mark.parametrize(
    ("keep_alive", "headers"), [(False, LENGTH), (True, [*LENGTH, (b"connection", b"close")])]
)
def test_the_last_answer_of_a_connection(keep_alive: bool, headers: list[tuple[bytes, bytes]]) -> None:
    said = Said(keep_alive=keep_alive)
    said.start(headers)
    said.body(b"abc")
    assert said.transport.writes[0].count(b"connection: close\r\n") == 1
    assert said.transport.closed


@pytest.mark.parametrize("bad", [(b"x-a\r\nx-b", b"c"), (b"x-a", b"b\r\nx-b: c"), (b"x-a", b"b\0")])
def test_headers_cannot_be_split(bad: tuple[bytes, bytes]) -> None:
    said = Said()
    with pytest.raises(RuntimeError, match="must not have"):
        said.start([*LENGTH, bad])
    assert said.transport.writes == []


def body_first(said: Said) -> None:
    said.body(b"abc")


def too_long(said: Said) -> None:
    said.start(LENGTH)
    said.body(b"abcd")


def too_short(said: Said) -> None:
    said.start(LENGTH)
    said.body(b"ab")


def started_twice(said: Said) -> None:
    said.start(LENGTH)
    said.start(LENGTH)


def too_late(said: Said) -> None:
    said.start(LENGTH)
    said.body(b"abc")
    said.body(b"abc")


@pytest.mark.parametrize("wrong", [body_first, too_long, too_short, started_twice, too_late])
def test_what_is_no_answer_raises(wrong: Callable[[Said], None]) -> None:
    with pytest.raises(RuntimeError):
        wrong(Said())


def test_nothing_is_said_to_who_has_gone() -> None:
    said = Said()
    said.exchange.disconnected = True
    said.start(LENGTH)
    assert said.transport.writes == []


def test_a_departure_is_heard_until_the_answer() -> None:
    said, heard = Said(), []
    said.exchange.depart()
    said.exchange.on_departure = lambda: heard.append(1)
    said.exchange.depart()
    said.start(LENGTH)
    said.body(b"abc")
    said.exchange.depart()
    assert heard == [1]


@pytest.mark.parametrize("extensions", [{EXTENSION: None}, {}])
def test_an_answer_of_json_on_our_server_and_on_others(extensions: dict[str, Any]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    scope = {"type": "http", "method": "POST", "extensions": extensions}
    asyncio.run(Whole(b'{"a":1}')(scope, receive, send))
    assert dict(sent[0]["headers"]) == {b"content-length": b"7", b"content-type": b"application/json"}
    assert [len(sent), sent[0].get(EXTENSION)] == ([1, b'{"a":1}'] if extensions else [2, None])
    assert sent[-1].get("body", b'{"a":1}') == b'{"a":1}'
