"""Whose worker fell silent? Told by watching leases change, never by comparing clocks (docs/adr/0015)."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.db import queue
from app.db.database import Database
from app.db.news import News
from app.db.queue import Lease


class Leases:
    """A lease is renewed well within `seconds`, so one that stayed the same for so long has nobody.

    Only what this object itself saw counts, by a clock that does not jump; a gap in its looking, as when the
    database was away, begins the waiting anew.
    """

    def __init__(self, db: Database, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.db = db
        self.seconds = seconds
        self._clock = clock
        self._since: dict[Lease, float] = {}
        self._looked = clock()
        self._news = News(db)

    def look(self) -> list[str]:
        """Ids of the jobs that were given back to the queue. Raises Unavailable."""
        if not self._news.come() and not self._since:
            return []
        with self.db.read() as session:
            found = queue.leases(session)
        self._news.heard()
        now = self._clock()
        known = self._since if now - self._looked < self.seconds else {}
        self._looked = now
        self._since = {lease: known.get(lease, now) for lease in found}
        silent = [lease for lease, since in self._since.items() if now - since > self.seconds]
        return [lease.job_id for lease in silent if self._lapse(lease)]

    def close(self) -> None:
        self._news.close()

    def _lapse(self, lease: Lease) -> bool:
        with self.db.write() as session:
            return queue.lapse(session, lease)
