"""A PostgreSQL server of a test's own, where it is installed: on a socket, no port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65_534
needs_postgres = pytest.mark.skipif(
    shutil.which("initdb") is None or importlib.util.find_spec("psycopg") is None,
    reason="needs PostgreSQL and psycopg",
)


@contextmanager
def postgres() -> Iterator[tuple[str, Path]]:
    """Its SQLAlchemy URL, and its data folder for `control`."""
    with tempfile.TemporaryDirectory(prefix="durian-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.getuid() == 0:  # the server refuses to run as root
            os.chown(folder, _NOBODY, _NOBODY)
        _run("initdb", "-D", folder / "db", "-A", "trust", "-U", "durian", "--no-sync")
        control(folder, "start")
        try:
            yield f"postgresql+psycopg://durian@/postgres?host={folder}", folder
        finally:
            control(folder, "stop")


def control(folder: Path, action: str) -> None:
    """`start` or `stop`."""
    options = f"-c listen_addresses='' -k {folder}"
    more = ["-o", options, "-l", folder / "log"] if action == "start" else ["-m", "immediate"]
    _run("pg_ctl", "-D", folder / "db", "-w", *more, action)


def _run(program: str, *arguments: str | Path) -> None:
    user = _NOBODY if os.getuid() == 0 else None
    path = shutil.which(program)
    assert path is not None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([path, *arguments], check=True, user=user, cwd="/", **quiet)
