"""`durian serve` as a process of its own, for tests that need real sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.ports import free_port

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def served(data: Path, settings: Mapping[str, str], *options: str) -> Iterator[Served]:
    """A service on a free port of 127.0.0.1, with these settings and no others; it is ready."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("DURIAN_")}
    env |= {"DURIAN_DATA": str(data), "DURIAN_LANES": "1", **settings}
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), *options]
    log = data / "log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    service = Served(process, port, log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not service.ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield service
    finally:
        process.terminate()
        process.wait(40)
