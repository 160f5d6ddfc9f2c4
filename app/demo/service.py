"""A service for the length of the demo: a free loopback port, a temporary data directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.client import Client, ClientError
from app.client.retry import Retry

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_LINES = 30
_KEPT = ("DURIAN_EMBEDDED_BACKBONES",)


class ServiceFailed(ClientError):
    """The service did not start; the end of its log is on stderr."""


@contextmanager
def temporary_service(
    prepare: Callable[[Path], None] = lambda _: None,
    settings: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[Client]:
    """A client of a service that is ready; both are gone afterwards. `prepare` is given its data folder
    before it starts, `settings` are of its environment, `arguments` of `durian serve`. Raises
    ServiceFailed."""
    with TemporaryDirectory(prefix="durian-demo-") as folder, _ended_by_sigterm():
        prepare(Path(folder) / "data")
        process, url, log = _start(Path(folder), settings or {}, arguments)
        try:
            # The key of the caller's own service means nothing to this one.
            with Client(url, key="none") as client:
                _await_ready(process, url, log)
                yield client
        finally:
            _stop(process)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Leave by way of the `finally` blocks on SIGTERM, as on Ctrl-C, so that the service is stopped."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(
    folder: Path, settings: Mapping[str, str], arguments: Sequence[str]
) -> tuple[subprocess.Popen[bytes], str, Path]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Settings of the caller's own service (its database above all) must not reach this one.
    env = {name: value for name, value in os.environ.items() if name in _KEPT or name[:7] != "DURIAN_"}
    command = [sys.executable, "-m", "app", "serve", "--host", "127.0.0.1", "--port", str(port), *arguments]
    log, config = folder / "service.log", folder / "durian.toml"
    config.touch()
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 (our own module)
            command,
            env={**env, "DURIAN_DATA": str(folder / "data"), "DURIAN_CONFIG": str(config), **settings},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the service
        )
    return process, f"http://127.0.0.1:{port}", log


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with Client(url, key="none", retry=Retry(attempts=0), timeout=5.0) as probe:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise _failure("The service ended before it was ready; its log is above.", log)
            if _is_ready(probe):
                return
            time.sleep(0.05)
    raise _failure(f"The service was not ready after {_START_SECONDS:.0f} s; its log is above.", log)


def _is_ready(probe: Client) -> bool:
    try:
        return probe.health().ready
    except ClientError:
        return False


def _failure(message: str, log: Path) -> ServiceFailed:
    lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return ServiceFailed(message)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
