"""The workers there are, wherever they run, and the methods that each can train.

A worker says every few seconds that it lives. A service without torch so knows that a method which needs it
can be offered, and a worker without torch leaves such jobs to others.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from app.db.database import Database
from app.db.tables import WorkerSeen
from app.services.ids import now

ANNOUNCE_SECONDS = 5.0
SEEN_SECONDS = 30.0
"""A worker that has said nothing for so long counts as gone."""

_FORGOTTEN_SECONDS = 86_400.0


class Workers:
    def __init__(self, db: Database) -> None:
        self.db = db

    def announce(self, owner: str, methods: Sequence[str]) -> None:
        """Say that a worker lives and what it can train."""
        with self.db.write() as session:
            session.merge(WorkerSeen(owner=owner, seen_at=now(), methods=list(methods)))
            session.execute(delete(WorkerSeen).where(WorkerSeen.seen_at < now() - _FORGOTTEN_SECONDS))

    def leave(self, owner: str) -> None:
        """Say that a worker has ended."""
        with self.db.write() as session:
            session.execute(delete(WorkerSeen).where(WorkerSeen.owner == owner))

    def methods(self) -> set[str]:
        """What the living workers can train, together."""
        query = select(WorkerSeen.methods).where(WorkerSeen.seen_at >= now() - SEEN_SECONDS)
        with self.db.read() as session:
            return {name for names in session.scalars(query) for name in names}
