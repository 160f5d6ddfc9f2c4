"""`python -m app.health api [ADDRESS] | worker`: the container's health check, by its exit status."""

from __future__ import annotations

import http.client
import os
import sys
import time
from pathlib import Path

BEAT = "worker.beat"
"""A file in the data folder that a worker touches every few seconds."""

SILENT_SECONDS = 60.0
_ADDRESS = "127.0.0.1:8000"
_TIMEOUT = 4.0


def main(part: str, address: str = _ADDRESS) -> int:
    """Whether the service, or the worker, of this container is well."""
    return 0 if (_worker() if part == "worker" else _api(address)) else 1


def _api(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()


def _worker() -> bool:
    beat = Path(os.environ.get("DURIAN_DATA", "data")) / BEAT
    try:
        return time.time() - beat.stat().st_mtime < SILENT_SECONDS
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
