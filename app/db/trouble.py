"""What a database's errors mean, and whether it is in trouble now."""

from __future__ import annotations

import time

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from models.errors import DurianError, InsufficientStorage, Unavailable

REMEMBERED_SECONDS = 10.0
_FULL = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE"})
_PG_FULL = frozenset({"53100", "53200"})


def named(error: SQLAlchemyError) -> DurianError:
    """InsufficientStorage where there is no room, else Unavailable."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    full = getattr(cause, "sqlite_errorname", None) in _FULL or getattr(cause, "sqlstate", None) in _PG_FULL
    if full:
        return InsufficientStorage("The service's disk is full; nothing was stored.", code="disk_full")
    return Unavailable("The database is busy or away; try again shortly.", code="database")


class Trouble:
    """The last failure of each kind of transaction, until one of that kind succeeds or it is long ago.

    Two threads may write at once: the last one counts, which is what is wanted.
    """

    def __init__(self) -> None:
        self._failed: dict[str, tuple[float, str]] = {}

    def note(self, kind: str, code: str) -> None:
        """A transaction failed: `read` or `write`."""
        self._failed[kind] = (time.monotonic(), code)

    def over(self, kind: str) -> None:
        """One succeeded."""
        if self._failed:
            self._failed.pop(kind, None)

    def degraded(self) -> list[str]:
        """Reasons, for `/v2/health/ready`."""
        now = time.monotonic()
        codes = {code for at, code in list(self._failed.values()) if now - at < REMEMBERED_SECONDS}
        return sorted(codes)
