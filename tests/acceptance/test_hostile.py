"""A real `durian serve` under hostile requests: no 500, no leak, no growth, nobody kept out."""

from __future__ import annotations

import re
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from tests.hostile import BY_HAND, corpus
from tests.serving import Served, served
from tests.support import jsonl, signal

pytestmark = pytest.mark.slow
COUNT = 600
SEED = 7
ALLOWED = {503, 504, 507}
QUIET_SECONDS = 1.0
"""What has said nothing for so long is waiting for more of the request."""

GROWTH_BYTES = 64 * 1024 * 1024
LEAK = re.compile(
    rb"Traceback|File \"|/app/|/models/\w+\.py|site-packages|/home/|/root/|/tmp/|sqlite|0x[0-9a-f]{9}"
)
"""What an answer must never hold: paths, traces, the names of what is inside."""


@dataclass(frozen=True)
class Seen:
    request: bytes
    answer: bytes

    @property
    def status(self) -> int:
        """0 where the connection was closed without an answer."""
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", self.answer)
        return int(match[1]) if match else 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = {"DURIAN_MAX_QUEUED_JOBS": "5", "DURIAN_HEADER_SECONDS": "3", "DURIAN_BODY_SECONDS": "3"}
    with served(tmp_path_factory.mktemp("hostile"), settings) as service:
        yield service


@pytest.fixture(scope="module")
def ids(service: Served) -> dict[str, str]:
    rows = jsonl([{"input": signal(kind, seed), "label": str(kind)} for kind in (0, 1) for seed in range(6)])
    with httpx.Client(base_url=service.url, timeout=60) as client:
        file = client.post("/v1/files", files={"file": ("r.jsonl", rows)}).json()["id"]
        body = {"model": "signal/raw", "training_file": file, "suffix": "m", "method": {"type": "logistic"}}
        job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"}).json()
        assert job["status"] == "succeeded", job
        made = {"name": "d", "modality": "signal", "task": "classification"}
        dataset = client.post("/v1/datasets", json=made).json()["id"]
    return {"model": "m", "file": file, "dataset": dataset, "job": job["id"]}


def sent(address: tuple[str, int], request: bytes) -> Seen:
    """One request on a connection of its own, and all that comes back."""
    answer = b""
    ends = b"connection: close" in request
    with socket.create_connection(address, 20 if ends else QUIET_SECONDS) as connection:
        try:
            connection.sendall(request)
            while part := connection.recv(65_536):
                answer += part
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass
    return Seen(request, answer)


def faults(seen: list[Seen]) -> list[str]:
    """What no request may bring about."""
    return [
        f"{one.status} {LEAK.findall(one.answer)}: {one.request[:600]!r} -> {one.answer[:600]!r}"
        for one in seen
        if (one.status >= 500 and one.status not in ALLOWED)
        or (one.status >= 400 and LEAK.search(one.answer))
    ]


def run(address: tuple[str, int], ids: dict[str, str], seed: int, count: int) -> list[Seen]:
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda request: sent(address, request), corpus(seed, count, ids)))


@contextmanager
def in_thread(app: FastAPI) -> Iterator[tuple[str, int]]:
    """An app served plainly, in this process."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        server.force_exit = True
        thread.join(10)


def test_no_request_breaks_it(service: Served, ids: dict[str, str]) -> None:
    for request in BY_HAND:  # warm: what is loaded at first use is no growth
        sent(service.address, request)
    before = psutil.Process(service.process.pid).memory_info().rss
    started = time.monotonic()
    seen = run(service.address, ids, SEED, COUNT)
    assert time.monotonic() - started < 60
    assert faults(seen) == []
    statuses = Counter(one.status for one in seen)
    # Most of them reach far enough to be told what is wrong with them, in many ways.
    assert {200, 400, 404, 405, 408, 413, 415, 422} <= set(statuses), statuses
    assert statuses[0] < len(seen) / 10, statuses
    assert b"Traceback" not in service.log.read_bytes()
    assert httpx.get(f"{service.url}/v2/health/ready").json()["ready"] is True
    assert psutil.Process(service.process.pid).memory_info().rss - before < GROWTH_BYTES


class Asked(BaseModel):
    model: str
    input: list[float]
    top_k: int = 5


def naive(body: Asked) -> Asked:
    return body


def test_what_is_written_naively_is_found_out() -> None:
    """The mutant: a service as the framework makes it, without a layer of ours."""
    app = FastAPI()
    app.post("/v1/predictions")(naive)
    ids = dict.fromkeys(("model", "file", "dataset", "job"), "x-0")
    with in_thread(app) as address:
        assert faults(run(address, ids, SEED, 300)) != []


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_no_request_of_fifty_thousand_breaks_it(service: Served, ids: dict[str, str]) -> None:
    for seed in range(100, 150):
        assert faults(run(service.address, ids, seed, 1_000)) == []


def test_slow_connections_keep_nobody_out(service: Served, ids: dict[str, str]) -> None:
    body = {"model": ids["model"], "input": signal(0, 3)}
    beginnings = (
        b"",
        b"POST /v1/predictions HTTP/1.1\r\nhost",
        b"POST /v1/datasets HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{",
    )
    slow = [socket.create_connection(service.address, 20) for _ in range(50)]
    try:
        for i, connection in enumerate(slow):
            connection.sendall(beginnings[i % 3])
        for _ in range(5):
            started = time.monotonic()
            assert httpx.post(f"{service.url}/v1/predictions", json=body, timeout=10).status_code == 200
            assert time.monotonic() - started < 1
        for connection in slow:
            answer = connection.recv(65_536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
    finally:
        for connection in slow:
            connection.close()


def test_large_legal_json_holds_nobody_up(service: Served, ids: dict[str, str]) -> None:
    """R2: while bodies of almost the limit are read, the service answers others at once."""
    numbers = ",".join(["0.125"] * 340_000)
    body = f'{{"model": "{ids["model"]}", "input": [[{numbers}]]}}'.encode()
    head = f"POST /v1/predictions HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {len(body)}"
    head += "\r\ncontent-type: application/json\r\n\r\n"
    with ThreadPoolExecutor(2) as pool:
        large = [pool.submit(sent, service.address, head.encode() + body) for _ in range(6)]
        waits = []
        while not all(one.done() for one in large):
            started = time.monotonic()
            assert httpx.get(f"{service.url}/health", timeout=10).status_code == 200
            waits.append(time.monotonic() - started)
    assert {one.result().status for one in large} == {422}
    assert statistics.median(waits) < 1.0
