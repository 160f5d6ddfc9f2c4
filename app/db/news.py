"""Whether anything was committed since the last look, for who looks again and again.

Asking SQLite itself takes a hundredth of what a look through a session does. PostgreSQL has no such number.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from app.db.database import Database


class News:
    """`come`, a look at the database, `heard`; in this order, nothing that is committed meanwhile is missed.

    Commits by everybody count, this process too. Not thread-safe.
    """

    def __init__(self, db: Database) -> None:
        self._file = db.file
        self._connection: sqlite3.Connection | None = None
        self._heard: int | None = None
        self._told: int | None = None

    def come(self) -> bool:
        """Whether there may be something new: always, where the database cannot say."""
        self._told = None if self._file is None else self._number(self._file)
        return self._told is None or self._told != self._heard

    def heard(self) -> None:
        """What had come when `come` was asked has been looked at."""
        self._heard = self._told

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _number(self, file: Path) -> int | None:
        """What changes with each commit of another connection; None where there is trouble, which is for the
        look to find and to name."""
        try:
            if self._connection is None:
                self._connection, self._heard = _open(file), None
            with closing(self._connection.execute("PRAGMA data_version")) as cursor:
                number: int = cursor.fetchone()[0]
                return number
        except sqlite3.Error:
            self.close()
            return None


def _open(file: Path) -> sqlite3.Connection:
    """Of a file that is there; for threads that follow one another; and with no patience, for whoever holds
    the lock is about to commit something."""
    uri = f"{file.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
