"""Many clients at once, each on a connection of its own, by `wrk` where it is installed.

Every request that was sent is answered and counted: clients send no more after the time is up, and the
last answers are waited for. So CPU seconds of the server can be divided by requests. Without wrk (Debian's
package of that name) threads of this process do the same; they cost the machine more.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.benchmarks.registry import Broken

WRK = shutil.which("wrk")
DRIVER = "wrk" if WRK else "threads of Python (wrk is not installed)"
_SCRIPT = Path(__file__).with_name("wrk.lua")
_DRAIN_SECONDS = 60


@dataclass(frozen=True)
class Drive:
    """What the clients saw: answers, all with status 200; milliseconds that half and 99 % of them took."""

    answered: int
    seconds: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Target:
    """Where to POST, and the bodies to send in turn; with an API key, if there is one."""

    host: str
    port: int
    path: str
    bodies: Sequence[bytes]
    kind: str = "application/json"
    key: str = ""

    def request(self, body: bytes) -> bytes:
        """As it goes over the wire."""
        head = f"POST {self.path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: {self.kind}\r\n"
        head += f"x-api-key: {self.key}\r\n" if self.key else ""
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def drive(target: Target, clients: int, seconds: float) -> Drive:
    """Send the bodies, again and again, by `clients` that each wait for their answer.

    Raises Broken when an answer is not 200, or none came.
    """
    return (_by_wrk if WRK else by_threads)(target, clients, seconds)


def _by_wrk(target: Target, clients: int, seconds: float) -> Drive:
    with TemporaryDirectory(prefix="durian-wrk-") as folder:
        requests = Path(folder) / "requests.lua"
        sent = (f'"{_escaped(target.request(body))}"' for body in target.bodies)
        requests.write_text(f"return {{{','.join(sent)}}}")
        command = [
            *(str(WRK), "-t1", f"-c{clients}", f"-d{int(seconds) + _DRAIN_SECONDS}s", "--timeout", "60s"),
            *("-s", str(_SCRIPT), f"http://{target.host}:{target.port}", "--", str(requests), str(seconds)),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            return read_wrk(_until_drained(running))


def _until_drained(running: subprocess.Popen[str]) -> str:
    """The output of wrk, which is told to end when the last answer is there."""
    lines = []
    for line in running.stdout or ():
        lines.append(line)
        if line == "drained\n":
            running.send_signal(signal.SIGINT)
    return "".join(lines)


def read_wrk(output: str) -> Drive:
    """The line that wrk.lua prints. Raises Broken."""
    lines = [line for line in output.splitlines() if line.startswith('{"answered"')]
    seen = json.loads(lines[-1]) if lines else {"answered": 0}
    if not seen["answered"] or seen["failed"]:
        raise Broken(f"Requests under load failed: {seen or output[-200:]}.")
    return Drive(seen["answered"], seen["seconds"], seen["p50"], seen["p99"])


def _escaped(data: bytes) -> str:
    """Between quotes in Lua."""
    return "".join(f"\\{byte:03d}" for byte in data)


def by_threads(target: Target, clients: int, seconds: float) -> Drive:
    """`drive` without wrk; each client sends one request at least."""
    requests = [target.request(body) for body in target.bodies]
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        runs = [pool.submit(_client, target, requests, i, started + seconds) for i in range(clients)]
        latencies = [latency for run in runs for latency in run.result()]
    p50, p99 = 1_000 * np.percentile(latencies, [50, 99])
    return Drive(len(latencies), time.perf_counter() - started, float(p50), float(p99))


def _client(target: Target, requests: Sequence[bytes], first: int, deadline: float) -> list[float]:
    latencies: list[float] = []
    with socket.create_connection((target.host, target.port), timeout=60) as connection:
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
