"""Many clients at once, each on a connection of its own; lean, for it shares the machine with the service."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import cycle, islice

from tests.benchmarks.registry import Broken

Address = tuple[str, int]


@dataclass(frozen=True)
class Drive:
    """What the clients saw: seconds of each request, and of the whole."""

    latencies: Sequence[float]
    seconds: float


def request(host: str, path: str, body: bytes) -> bytes:
    """A POST of JSON as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def drive(address: Address, requests: Sequence[bytes], clients: int, seconds: float) -> Drive:
    """Send `requests` in turn, again and again, by `clients` that each wait for their answer.

    Each client sends one at least. Raises Broken when an answer is not 200.
    """
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        runs = [pool.submit(_client, address, requests, i, started + seconds) for i in range(clients)]
        latencies = [latency for run in runs for latency in run.result()]
    return Drive(latencies, time.perf_counter() - started)


def _client(address: Address, requests: Sequence[bytes], first: int, deadline: float) -> list[float]:
    latencies: list[float] = []
    with socket.create_connection(address, timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for sent in islice(cycle(requests), first, None):
            started = time.perf_counter()
            connection.sendall(sent)
            _read_answer(connection)
            latencies.append(time.perf_counter() - started)
            if time.perf_counter() > deadline:
                break
    return latencies


def _read_answer(connection: socket.socket) -> None:
    with HTTPResponse(connection) as response:
        response.begin()
        response.read()
        if response.status != 200:
            raise Broken(f"A request under load was answered with {response.status}.")
