"""Connections that wait: what comes too slowly is cut off, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from app.api import protocol
from app.api.protocol import MAX_HEAD_BYTES, Guard, GuardedProtocol, Limits
from models.errors import DurianError, Unavailable

LIMITS = Limits(head=0.3, body=0.4, write=0.5, per_address=12)
PATIENCE = 4.0
"""Seconds after which a test gives up waiting; the limits above are a tenth of it."""

HEAD = b"POST /v1/x HTTP/1.1\r\nhost: t\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The size of the body; much more on /big; after a while on /slow; before the body on /early."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(400 if scope["path"] == "/big" else 0):
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
    await send({"type": "http.response.body", "body": str(size).encode()})


def full(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> DurianError | None:
    """Refuses what is sent to a path that ends so."""
    return Unavailable("too much", code="overloaded") if path.endswith("/full") else None


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(LIMITS, full)


@pytest.fixture(scope="module")
def port(guard: Guard) -> Iterator[int]:
    patch = pytest.MonkeyPatch()
    patch.setattr(protocol, "_TICK_SECONDS", 0.05)
    served = type("Served", (GuardedProtocol,), {"guard": guard})
    server = uvicorn.Server(
        uvicorn.Config(echo, http=served, ws="none", lifespan="off", log_config=None, timeout_keep_alive=1)
    )
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listening.close()
    patch.undo()


@pytest.fixture
def connection(port: int, guard: Guard) -> Iterator[socket.socket]:
    while guard.connections:  # those of the test before
        time.sleep(0.01)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as made:
        yield made


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def fresh(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as made:
        made.sendall(b"GET /v1/x HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        return rest(made)


def test_a_silent_connection_is_closed(connection: socket.socket) -> None:
    started = time.monotonic()
    assert rest(connection) == b""
    assert LIMITS.head - 0.1 < time.monotonic() - started < PATIENCE


def trickle(connection: socket.socket, data: bytes, pause: float = 0.05) -> bytes:
    """Send byte by byte until the other end has had enough; what it says."""
    connection.settimeout(pause)
    found = b""
    for i in range(len(data)):
        try:
            connection.sendall(data[i : i + 1])
            part = connection.recv(65_536)
            if not part:
                break
            found += part
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            break
    return found


@pytest.mark.parametrize(
    "data", [HEAD + b"x-a: " + b"a" * 60, b"\r\n" * 40], ids=["header", "empty lines before it"]
)
def test_a_head_that_trickles_is_refused(connection: socket.socket, data: bytes) -> None:
    answer = trickle(connection, data)
    assert status_of(answer) == 408
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == "request_timeout"
    assert body["error"]["request_id"].encode() in answer.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "more", [b"content-length: 100\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n40\r\n"]
)
def test_a_body_that_trickles_is_refused(connection: socket.socket, more: bytes) -> None:
    connection.sendall(HEAD + more)
    assert status_of(trickle(connection, b"a" * 60)) == 408


def test_a_body_that_trickles_on_after_its_answer_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(b"POST /early HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n")
    answer = trickle(connection, b"a" * 60)
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1") == 1
    assert rest(connection) == b""


def test_a_large_body_has_the_time_that_its_bytes_take(connection: socket.socket) -> None:
    size = 20 * 16_384
    connection.sendall(HEAD + f"connection: close\r\ncontent-length: {size}\r\n\r\n".encode())
    for _ in range(20):  # twice the limit in all, at more than the rate that is asked for
        connection.sendall(bytes(16_384))
        time.sleep(0.04)
    answer = rest(connection)
    assert status_of(answer) == 200
    assert str(size).encode() in answer


def test_an_answer_may_take_longer_than_any_limit(connection: socket.socket) -> None:
    connection.sendall(b"GET /slow HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
    assert status_of(rest(connection)) == 200


def test_a_client_that_reads_nothing_is_cut_off(connection: socket.socket, guard: Guard) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.sendall(b"GET /big HTTP/1.1\r\nhost: t\r\n\r\n")
    deadline = time.monotonic() + PATIENCE
    while guard.connections:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_reads_slowly_is_served(connection: socket.socket) -> None:
    connection.sendall(b"GET /big HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
    size, started = 0, time.monotonic()
    while part := connection.recv(1_048_576):
        size += len(part)
        if time.monotonic() - started < 1.5:
            time.sleep(0.1)
    assert size > 400 * 65_536


def test_a_head_has_a_size(connection: socket.socket) -> None:
    try:
        for _ in range(3 * MAX_HEAD_BYTES // 8_192):
            connection.sendall(b"x-%d: " % 7 + b"a" * 8_192 if _ else HEAD + b"x: ")
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert status_of(rest(connection) or b"x 431 x") == 431


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_told_so(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    answer = rest(connection)
    assert status_of(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_requests_follow_each_other_on_one_connection(connection: socket.socket, port: int) -> None:
    connection.sendall((HEAD + b"content-length: 3\r\n\r\nabc") * 2)
    time.sleep(0.6)  # idle for longer than a head may take
    connection.sendall(HEAD + b"connection: close\r\ncontent-length: 3\r\n\r\nabc")
    assert rest(connection).count(b"HTTP/1.1 200") == 3


def test_an_idle_connection_is_let_go(connection: socket.socket) -> None:
    """After Uvicorn's time for that, by the guard's clock."""
    connection.sendall(HEAD + b"content-length: 3\r\n\r\nabc")
    started = time.monotonic()
    assert status_of(rest(connection)) == 200
    assert 0.9 < time.monotonic() - started < PATIENCE


def test_what_is_refused_by_its_head_costs_the_connection_nothing(connection: socket.socket) -> None:
    """Whether the first, in the middle or the last, with bodies of either kind. What comes behind one that is
    still being answered is left to the app, or answers would change places."""
    refused = b"POST /v1/full?model=m HTTP/1.1\r\nhost: t\r\n"
    sized, chunked = (
        b"content-length: 3\r\n\r\nabc",
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    connection.sendall(refused + sized)
    connection.sendall((refused + chunked) * 2 + HEAD + sized + refused + sized)
    time.sleep(0.6)  # idle for longer than a head may take
    connection.sendall(refused + b"connection: close\r\n" + sized)
    answers = rest(connection).split(b"HTTP/1.1 ")[1:]
    assert [int(answer[:3]) for answer in answers] == [503, 503, 503, 200, 200, 503]
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert b"retry-after: 1" in head
    assert b"connection: close" not in head
    assert json.loads(body)["error"]["code"] == "overloaded"
    assert json.loads(body)["error"]["request_id"].encode() in head
    assert b"connection: close" in answers[-1]


def test_a_refusal_speaks_the_protocol_of_its_path(connection: socket.socket) -> None:
    connection.sendall(b"POST /v2/full HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
    assert json.loads(rest(connection).partition(b"\r\n\r\n")[2]) == {"error": "too much"}


def test_who_asks_before_sending_a_body_is_answered_by_the_app(connection: socket.socket) -> None:
    """Such a client would wait for the go-ahead first."""
    connection.sendall(
        b"POST /v1/full HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\nconnection: close\r\n"
        b"content-length: 3\r\n\r\n"
    )
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.sendall(b"abc")
    assert status_of(rest(connection)) == 200


def test_the_body_of_what_was_refused_has_its_time_and_no_more(connection: socket.socket) -> None:
    connection.sendall(b"POST /v1/full HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n")
    answer = trickle(connection, b"a" * 60)
    assert status_of(answer) == 408
    assert answer.count(b"HTTP/1.1") == 1


def test_slow_ones_do_not_keep_a_fresh_one_out_and_an_address_has_a_bound(
    connection: socket.socket, port: int, guard: Guard
) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(10)]
    for one in slow:
        one.sendall(b"POST /v1/x HTTP/1.1\r\n")
    started = time.monotonic()
    assert status_of(fresh(port)) == 200
    assert time.monotonic() - started < 1
    slow.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
    answer = fresh(port)
    assert status_of(answer) == 429
    assert b"retry-after: 1" in answer
    for one in slow:
        one.close()
    deadline = time.monotonic() + PATIENCE
    while len(guard.connections) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert status_of(fresh(port)) == 200


def test_without_its_clock_the_guard_lets_all_of_that_by(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedProtocol, "look", lambda self, now: None)
    assert trickle(connection, HEAD + b"x-a: " + b"a" * 10) == b""
    connection.settimeout(0.6)
    with pytest.raises(TimeoutError):
        connection.recv(1)
