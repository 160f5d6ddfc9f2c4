"""Features computed once: a cache by (backbone digest, tap, example digest), shared by processes.

A folder of SQLite files, each named by the second it was begun at. The newest takes what is put; what is
found in an older one is put into the newest again. So to drop the oldest file is to forget what nobody has
asked for the longest, and takes no lock and no vacuum.

SQLite below 3.51.3 must not use write-ahead logging with two processes (a corruption bug), so the
rollback journal stays. The cache may be lost at any time: it is not synced.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import split_tap
from models.runtime import Features

_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    backbone TEXT NOT NULL, tap TEXT NOT NULL, example TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (backbone, tap, example)
) WITHOUT ROWID
"""
_FILES = 8
_IDLE_SECONDS = 600.0
_CHUNK = 500  # below SQLite's default limit of bound variables


class FeatureCache:
    """Opens a connection for each call, so that threads and forked processes never share one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if not self._parts():
            self._begin(int(time.time()))

    def get(self, backbone: str, tap: str, examples: Sequence[str]) -> dict[str, Features]:
        """The vectors that are there, by example digest; of a joined tap, where all its parts are."""
        return self.get_taps(backbone, (tap,), examples)[tap]

    def get_taps(
        self, backbone: str, taps: Sequence[str], examples: Sequence[str]
    ) -> dict[str, dict[str, Features]]:
        """The same of several taps, each part of theirs read once."""
        found: dict[str, dict[str, Features]] = {part: {} for tap in taps for part in split_tap(tap)}
        wanted = len(set(examples))
        for older, path in enumerate(self._parts()):
            more = _read(path, backbone, found, examples)
            for tap, vectors in more.items():
                if older and vectors:
                    self.put(backbone, tap, list(vectors), np.stack(list(vectors.values())))
                found[tap] |= vectors
            if all(len(known) == wanted for known in found.values()):
                break
        return {tap: _joined([found[part] for part in split_tap(tap)]) for tap in taps}

    def put(self, backbone: str, tap: str, examples: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Store one row a vector of one tap, not a joined one; what is there already stays."""
        rows = (
            (backbone, tap, name, np.ascontiguousarray(vector, np.float32).tobytes())
            for name, vector in zip(examples, vectors, strict=True)
        )
        with _connect(self._parts()[0]) as db:
            db.executemany("INSERT OR IGNORE INTO features VALUES (?, ?, ?, ?)", rows)

    def missing(self, backbone: str, tap: str, examples: Sequence[str]) -> list[str]:
        """Distinct example digests that have no vector yet, in order."""
        known: dict[str, set[str]] = {part: set() for part in split_tap(tap)}
        for path in self._parts():
            with _unless_dropped(path), _connect(path) as db:
                for part in known:
                    known[part] |= {name for (name,) in _select(db, "example", backbone, part, examples)}
        every = set.intersection(*known.values())
        return [name for name in dict.fromkeys(examples) if name not in every]

    def trim(self, most_bytes: int, most_seconds: float, now: float | None = None) -> int:
        """Drop what was not asked for the longest, until both bounds hold; how many files went.

        Works by files of an eighth of either bound, and never takes one that was written to within ten
        minutes: a job may be about to read what it put there.
        """
        now = time.time() if now is None else now
        newest, *older = self._parts()
        begun = int(newest.stem)
        if _stat(newest)[0] > most_bytes / _FILES or now - begun > most_seconds / _FILES:
            self._begin(max(int(now), begun + 1))
            older = [newest, *older]
        dropped = 0
        for path in reversed(older):
            idle = now - _stat(path)[1]
            if idle > _IDLE_SECONDS and (size(self.folder) > most_bytes or idle > most_seconds):
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
                dropped += 1
        return dropped

    def _parts(self) -> list[Path]:
        return _files(self.folder)

    def _begin(self, second: int) -> None:
        """Under its name only once it has its table."""
        path = self.folder / f"{second:012}.sqlite"
        fresh = path.with_name(f".{path.stem}-{os.getpid()}-{threading.get_ident()}")
        try:
            with closing(sqlite3.connect(fresh)) as db, db:
                db.execute(_SCHEMA)
            with suppress(FileExistsError):  # another process began it
                os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def size(folder: Path) -> int:
    """Bytes on disk of the cache in that folder."""
    return sum(_stat(path)[0] for path in _files(folder))


def _files(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("*.sqlite"), reverse=True)


@contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    """Never makes a file: one that was dropped meanwhile raises OperationalError."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30)) as db:
        db.execute("PRAGMA synchronous=OFF")
        with db:
            yield db


@contextmanager
def _unless_dropped(path: Path) -> Iterator[None]:
    """Nothing is found in a file that another process has dropped meanwhile; other errors are raised."""
    try:
        yield
    except sqlite3.OperationalError:
        if path.exists():
            raise


def _stat(path: Path) -> tuple[int, float]:
    """Its size, and when it was last written to; (0, 0) of one that was dropped."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return 0, 0.0
    return told.st_size, told.st_mtime


def _read(
    path: Path, backbone: str, found: dict[str, dict[str, Features]], examples: Sequence[str]
) -> dict[str, dict[str, Features]]:
    """What of `examples` is not found yet and is here, by tap."""
    more: dict[str, dict[str, Features]] = {}
    with _unless_dropped(path), _connect(path) as db:
        for tap, known in found.items():
            wanted = [name for name in examples if name not in known]
            more[tap] = _get(db, backbone, tap, wanted)
    return more


def _get(db: sqlite3.Connection, backbone: str, tap: str, examples: Sequence[str]) -> dict[str, Features]:
    rows = _select(db, "example, vector", backbone, tap, examples)
    return {name: np.frombuffer(vector, np.float32) for name, vector in rows}


def _select(
    db: sqlite3.Connection, columns: str, backbone: str, tap: str, examples: Sequence[str]
) -> Iterator[Any]:
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        yield from db.execute(
            f"SELECT {columns} FROM features "  # noqa: S608 (our own names and question marks)
            f"WHERE backbone = ? AND tap = ? AND example IN ({marks})",
            (backbone, tap, *chunk),
        )


def _joined(parts: Sequence[dict[str, Features]]) -> dict[str, Features]:
    """The vectors in a row of examples that have all parts."""
    if len(parts) == 1:
        return parts[0]
    every = set(parts[0]).intersection(*parts[1:])
    return {name: np.concatenate([part[name] for part in parts]) for name in every}
