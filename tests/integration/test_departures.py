"""A client that hangs up while it waits: its work is dropped before it runs."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.api import departures
from app.api.exchange import Exchange
from tests.oip_service import OipService, Ours, oip_service_of

Request = tuple[str, dict[str, Any]]


@pytest.fixture(params=["ours", "httptools"])
def oip_service(request: pytest.FixtureRequest) -> Iterator[OipService]:
    """Behind our protocol, which tells of a lost connection, and one that has to be asked."""
    with oip_service_of(http=Ours if request.param == "ours" else request.param) as service:
        yield service


def send(service: OipService, request: Request, *headers: str) -> socket.socket:
    """A connection on which a request has been sent."""
    path, body = request
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *headers]
    connection = socket.create_connection(service.address, timeout=10)
    head = "\r\n".join([*lines, f"content-length: {len(data)}"])
    connection.sendall(head.encode() + b"\r\n\r\n" + data)
    return connection


def waiting(service: OipService, count: int) -> None:
    service.until(lambda: service.engine.stats().waiting == count)


def v1(text: str) -> Request:
    return "/v1/predictions", {"model": "colours", "input": text}


def v2(text: str) -> Request:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    return "/v2/models/colours/infer", {"inputs": [tensor]}


def embeddings(text: str) -> Request:
    return "/v1/embeddings", {"model": "text/fake", "input": text}


def hold(oip_service: OipService) -> socket.socket:
    oip_service.trunk.gate.clear()
    held = send(oip_service, v1("held"))
    oip_service.until(lambda: bool(oip_service.trunk.batches))
    return held


def status(connection: socket.socket) -> bytes:
    with connection:
        return connection.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize("request_of", [v1, v2, embeddings])
def test_work_of_a_client_that_has_gone_is_not_run(
    oip_service: OipService, request_of: Callable[[str], Request]
) -> None:
    with hold(oip_service) as held:
        gone = send(oip_service, request_of("gone"))
        stays = send(oip_service, request_of("stays"))
        waiting(oip_service, 2)
        gone.close()
        waiting(oip_service, 1)
        oip_service.trunk.gate.set()
        assert b" 200 " in status(held)
    assert b" 200 " in status(stays)
    assert oip_service.trunk.batches == [[b"held"], [b"stays"]]


def test_unwatched_it_would_run(oip_service: OipService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(Exchange, "depart", lambda self: None)
    with hold(oip_service):
        gone = send(oip_service, v1("gone"))
        waiting(oip_service, 1)
        gone.close()
        time.sleep(0.1)
        oip_service.trunk.gate.set()
        oip_service.until(lambda: [b"gone"] in oip_service.trunk.batches)


@pytest.mark.parametrize("request_of", [v1, v2, embeddings])
def test_a_request_that_is_too_late_is_not_run(
    oip_service: OipService, request_of: Callable[[str], Request]
) -> None:
    with hold(oip_service):
        late = send(oip_service, request_of("late"), "x-request-timeout: 0.05")
        assert b" 504 " in status(late)
        oip_service.trunk.gate.set()
        oip_service.until(lambda: oip_service.engine.stats().waiting == 0)
    assert oip_service.trunk.batches == [[b"held"]]


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", ""])
def test_a_timeout_is_a_number_of_seconds(oip_service: OipService, text: str) -> None:
    assert b" 400 " in status(send(oip_service, v1("x"), f"x-request-timeout: {text}"))
    assert b" 400 " in status(send(oip_service, v2("x"), f"x-request-timeout: {text}"))


def test_one_connection_serves_on_after_a_slow_answer(oip_service: OipService) -> None:
    """What watched the first request must not take the second one's bytes."""
    with hold(oip_service) as held:
        time.sleep(3 * departures.PATIENCE_SECONDS)
        oip_service.trunk.gate.set()
        assert b"200 OK" in held.recv(65536)
        data = json.dumps(v1("again")[1]).encode()
        head = f"POST /v1/predictions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
        held.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + data)
        assert b"200 OK" in held.recv(65536)
