"""A PostgreSQL server of a test's own, where it is installed: on a socket, no port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

_NOBODY = 65_534
needs_postgres = pytest.mark.skipif(
    shutil.which("initdb") is None or importlib.util.find_spec("psycopg") is None,
    reason="needs PostgreSQL and psycopg",
)


@contextmanager
def postgres() -> Iterator[tuple[str, Path]]:
    """Its SQLAlchemy URL, and its data folder for `control`."""
    with _folder() as folder:
        _run("initdb", "-D", folder / "db", "-A", "trust", "-U", "durian", "--no-sync")
        control(folder, "start")
        try:
            yield f"postgresql+psycopg://durian@/postgres?host={folder}", folder
        finally:
            control(folder, "stop")


@contextmanager
def postgres_with_password(user: str, password: str, database: str, port: int) -> Iterator[None]:
    """As the image of PostgreSQL starts it: on a port, which asks for the password."""
    with _folder() as folder:
        (folder / "password").write_text(password)
        options = ["-U", user, "--pwfile", folder / "password", "--auth-host=scram-sha-256"]
        _run("initdb", "-D", folder / "db", "--auth-local=trust", "--no-sync", *options)
        control(folder, "start", f"-c listen_addresses=127.0.0.1 -c port={port}")
        try:
            server = f"postgresql+psycopg://{user}@/postgres?host={folder}&port={port}"
            new_database(server, database)
            yield
        finally:
            control(folder, "stop")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="durian-pg-", dir="/tmp") as name:
        if os.getuid() == 0:  # the server refuses to run as root
            os.chown(name, _NOBODY, _NOBODY)
        yield Path(name)


def new_database(server: str, name: str | None = None) -> str:
    """The URL of a new, empty database on a server."""
    name = name or f"t{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def control(folder: Path, action: str, listen: str = "-c listen_addresses=''") -> None:
    """`start` or `stop`."""
    options = f"{listen} -k {folder}"
    more = ["-o", options, "-l", folder / "log"] if action == "start" else ["-m", "immediate"]
    _run("pg_ctl", "-D", folder / "db", "-w", *more, action)


def _run(program: str, *arguments: str | Path) -> None:
    user = _NOBODY if os.getuid() == 0 else None
    path = shutil.which(program)
    assert path is not None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([path, *arguments], check=True, user=user, cwd="/", **quiet)
