"""Removes what nothing names any more: blobs of deleted uploads, artefacts of deleted versions, leftovers;
and cached features that nothing has used for long, or that are more than there is room for.

Only what has been untouched for an hour goes: bytes are stored before the row that names them, and storing
bytes that are there already touches them, so what a request is about to name is always young. A name is taken
away first and looked at again: what was touched meanwhile gets it back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from app.db.database import Database
from app.db.tables import ACTIVE, Example, File, Job, Version
from app.services.bucket import Bucket
from app.services.periodic import Periodic
from app.services.reconcile import remove
from app.services.shared import sweep_bucket
from app.settings import Settings
from models.features import FeatureCache
from models.store import TEMPORARY, set_aside

GRACE_SECONDS = 3_600.0
_TEMPORARY_SECONDS = 60.0
_EVERY_SECONDS = 600.0
_DAY_SECONDS = 86_400.0


class Sweeper:
    """`sweep` once, or `start` to sweep every ten minutes."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        grace: float = GRACE_SECONDS,
        bucket: Bucket | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        self.settings = settings
        self.db = db
        self.grace = grace
        self.bucket = bucket
        self.features = features
        rounds = Periodic("sweep", self.sweep, _EVERY_SECONDS)
        self.start, self.close = rounds.start, rounds.close

    def sweep(self) -> int:
        """Remove everything stale; how many files and folders went."""
        # What is on disk is listed before what is named: a name that comes later is never missed.
        old = [path for path in self._stored() if self._is_old(path)]
        named = self._named() if old or self.bucket else set()
        stale = [path for path in old if path.name not in named]
        forgotten = sweep_bucket(self.bucket, named, self.grace) if self.bucket else 0
        return sum(self._take(path) for path in stale) + forgotten + self._trim_features()

    def _trim_features(self) -> int:
        if self.features is None:
            return 0
        return self.features.trim(
            self.settings.max_features_bytes, self.settings.features_days * _DAY_SECONDS
        )

    def _stored(self) -> Iterator[Path]:
        for root in (self.settings.blobs, self.settings.artefacts):
            yield from root.glob("??/*")
        yield from self.settings.work.glob("*")

    def _is_old(self, path: Path) -> bool:
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return False
        return age > self.grace or (age > _TEMPORARY_SECONDS and path.name.startswith(TEMPORARY))

    def _take(self, path: Path) -> bool:
        """Remove it, unless somebody has touched it since it was listed."""
        if path.name.startswith(TEMPORARY) or path.parent == self.settings.work:
            remove(path)
            return True
        try:
            aside = set_aside(path)
        except FileNotFoundError:
            return False
        if self._is_old(aside) or path.exists():
            remove(aside.parent)
            return True
        os.rename(aside, path)
        remove(aside.parent)
        return False

    def _named(self) -> set[str]:
        """Digests and work folders that something refers to."""
        with self.db.read() as session:
            found = set(session.scalars(select(Version.artefact)))
            for column in (File.blob, File.pack, Example.pack):
                found |= set(session.scalars(select(column).distinct()))
            for job in session.scalars(select(Job).where(Job.status.in_(ACTIVE))):
                found |= {digest for digest in job.spec["packs"].values() if digest is not None}
                found.add(f"{job.id}-{job.fence}")
        return found
