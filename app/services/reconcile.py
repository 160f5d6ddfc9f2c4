"""What the first process on a data folder clears away: nobody lives whose it could be."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from app.db import queue
from app.db.database import Database
from app.services.presence import Presence
from app.settings import Settings
from models.errors import DurianError
from models.store import TEMPORARY

log = logging.getLogger(__name__)


def reconcile(settings: Settings, db: Database, presence: Presence) -> None:
    """Remove temporaries and work folders, give back the jobs that were running, and let others in.

    Only where the database lies in the folder: else others may work for it who do not share the lock.
    """
    try:
        if presence.alone and db.embedded and settings.database is None:
            for path in (*temporaries(settings), *settings.work.glob("*")):
                remove(path)
            _give_back(db)
    finally:
        presence.settle()


def temporaries(settings: Settings) -> list[Path]:
    """Files and folders that were being written."""
    roots = (settings.blobs, settings.artefacts)
    return [path for root in roots for path in root.glob(f"??/{TEMPORARY}*")]


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _give_back(db: Database) -> None:
    try:
        with db.write() as session:
            back = [lease.job_id for lease in queue.leases(session) if queue.lapse(session, lease)]
    except DurianError as error:
        log.warning("jobs of lost workers wait for their leases to end: %s", error.code)
        return
    if back:
        log.warning("%d jobs of workers that are gone were given back", len(back))
