"""A client that hangs up while it waits: its work is dropped before it runs."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from app.api import departures, faults, oip, predictions
from app.api.gate import Gate
from app.engine.engine import Engine
from app.services.catalogue import Catalogue
from app.services.keys import Identity
from app.services.serving import Serving
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest

TEXT = card()


@dataclass
class Slow:
    """A service over a trunk that can be held."""

    trunk: FakeTrunk
    engine: Engine
    address: tuple[str, int]

    def send(self, path: str, body: dict[str, Any], *headers: str) -> socket.socket:
        """A connection on which a request has been sent."""
        data = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *headers]
        connection = socket.create_connection(self.address, timeout=10)
        head = "\r\n".join([*lines, f"content-length: {len(data)}"])
        connection.sendall(head.encode() + b"\r\n\r\n" + data)
        return connection

    def waiting(self, count: int) -> None:
        until(lambda: self.engine.stats().waiting == count)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


@pytest.fixture
def slow() -> Iterator[Slow]:
    trunk, catalogue = FakeTrunk(TEXT), Catalogue()
    shelf = FakeShelf(trunk)
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
    catalogue.put_version("acme", "m", 1, lambda: loaded(manifest(TEXT)))
    catalogue.set_alias("acme", "m", "live", 1)
    inner = FastAPI()
    inner.state.services = SimpleNamespace(serving=Serving(engine, catalogue), shelf=shelf)
    for router in (oip.router, predictions.router):
        inner.include_router(router)
    faults.install(inner)
    app = Gate(inner, lambda _: Identity("acme", "writer"), max_body=1 << 20, max_upload=1 << 20)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: server.started)
        yield Slow(trunk, engine, listening.getsockname())
        trunk.gate.set()
        server.should_exit = True
        thread.join()
    engine.close()


def v1(text: str) -> tuple[str, dict[str, Any]]:
    return "/v1/predictions", {"model": "m", "input": text}


def v2(text: str) -> tuple[str, dict[str, Any]]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    return "/v2/models/m/infer", {"inputs": [tensor]}


def embeddings(text: str) -> tuple[str, dict[str, Any]]:
    return "/v1/embeddings", {"model": "text/fake", "input": text}


def hold(slow: Slow) -> socket.socket:
    slow.trunk.gate.clear()
    held = slow.send(*v1("held"))
    until(lambda: bool(slow.trunk.batches))
    return held


def status(connection: socket.socket) -> bytes:
    with connection:
        return connection.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize("request_of", [v1, v2, embeddings])
def test_work_of_a_client_that_has_gone_is_not_run(
    slow: Slow, request_of: Callable[[str], tuple[str, dict[str, Any]]]
) -> None:
    with hold(slow) as held:
        gone = slow.send(*request_of("gone"))
        stays = slow.send(*request_of("stays"))
        slow.waiting(2)
        gone.close()
        slow.waiting(1)
        slow.trunk.gate.set()
        assert b" 200 " in status(held)
    assert b" 200 " in status(stays)
    assert slow.trunk.batches == [[b"held"], [b"stays"]]


def test_unwatched_it_would_run(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 60)
    with hold(slow):
        gone = slow.send(*v1("gone"))
        slow.waiting(1)
        gone.close()
        time.sleep(0.1)
        slow.trunk.gate.set()
        until(lambda: [b"gone"] in slow.trunk.batches)


@pytest.mark.parametrize("request_of", [v1, v2, embeddings])
def test_a_request_that_is_too_late_is_not_run(
    slow: Slow, request_of: Callable[[str], tuple[str, dict[str, Any]]]
) -> None:
    with hold(slow):
        late = slow.send(*request_of("late"), "x-request-timeout: 0.05")
        assert b" 504 " in status(late)
        slow.trunk.gate.set()
        until(lambda: slow.engine.stats().waiting == 0)
    assert slow.trunk.batches == [[b"held"]]


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", ""])
def test_a_timeout_is_a_number_of_seconds(slow: Slow, text: str) -> None:
    assert b" 400 " in status(slow.send(*v1("x"), f"x-request-timeout: {text}"))
    assert b" 400 " in status(slow.send(*v2("x"), f"x-request-timeout: {text}"))


def test_one_connection_serves_on_after_a_slow_answer(slow: Slow) -> None:
    """What watched the first request must not take the second one's bytes."""
    with hold(slow) as held:
        time.sleep(3 * departures.PATIENCE_SECONDS)
        slow.trunk.gate.set()
        assert b"200 OK" in held.recv(65536)
        data = json.dumps(v1("again")[1]).encode()
        head = f"POST /v1/predictions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
        held.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + data)
        assert b"200 OK" in held.recv(65536)
