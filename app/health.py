"""`python -m app.health api | worker`: the container's health check. Exit status 0 is well, 1 is not."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BEAT = "worker.beat"
"""A file in the data folder that a worker touches every few seconds."""

SILENT_SECONDS = 60.0
_ADDRESS = "http://127.0.0.1:8000/health"
_TIMEOUT = 4.0


def main(part: str) -> int:
    """Whether the service, or the worker, of this container is well."""
    return 0 if (_worker() if part == "worker" else _api()) else 1


def _api() -> bool:
    try:
        with urllib.request.urlopen(_ADDRESS, timeout=_TIMEOUT) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _worker() -> bool:
    beat = Path(os.environ.get("DURIAN_DATA", "data")) / BEAT
    try:
        return time.time() - beat.stat().st_mtime < SILENT_SECONDS
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
