"""Features computed once: a cache by (backbone digest, tap, example digest), shared by processes.

SQLite below 3.51.3 must not use write-ahead logging with two processes (a corruption bug), so the
rollback journal stays. The cache may be lost at any time: it is not synced.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
_CHUNK = 500  # below SQLite's default limit of bound variables


class FeatureCache:
    """Opens a connection for each call, so that threads and forked processes never share one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as db:
            db.execute(_SCHEMA)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=30)
        try:
            db.execute("PRAGMA synchronous=OFF")
            with db:
                yield db
        finally:
            db.close()

    def get(self, backbone: str, tap: str, examples: Sequence[str]) -> dict[str, Features]:
        """The vectors that are there, by example digest; of a joined tap, where all its parts are."""
        return self.get_taps(backbone, (tap,), examples)[tap]

    def get_taps(
        self, backbone: str, taps: Sequence[str], examples: Sequence[str]
    ) -> dict[str, dict[str, Features]]:
        """The same of several taps, each part of theirs read once."""
        parts = dict.fromkeys(part for tap in taps for part in split_tap(tap))
        with self._connect() as db:
            read = {part: _get(db, backbone, part, examples) for part in parts}
        return {tap: _joined([read[part] for part in split_tap(tap)]) for tap in taps}

    def put(self, backbone: str, tap: str, examples: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Store one row a vector of one tap, not a joined one; what is there already stays."""
        rows = (
            (backbone, tap, name, np.ascontiguousarray(vector, np.float32).tobytes())
            for name, vector in zip(examples, vectors, strict=True)
        )
        with self._connect() as db:
            db.executemany("INSERT OR IGNORE INTO features VALUES (?, ?, ?, ?)", rows)

    def missing(self, backbone: str, tap: str, examples: Sequence[str]) -> list[str]:
        """Distinct example digests that have no vector yet, in order."""
        with self._connect() as db:
            known = [
                {name for (name,) in _select(db, "example", backbone, part, examples)}
                for part in split_tap(tap)
            ]
        every = set.intersection(*known)
        return [name for name in dict.fromkeys(examples) if name not in every]


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
