"""What a tenant may hold, checked inside the writing transaction; and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import Dataset, Example, File, Job
from models.errors import RateLimited

_TRY_AGAIN_SECONDS = 60


@dataclass(frozen=True)
class Usage:
    """What a tenant holds now. `bytes` are those of files as uploaded, and of the examples in datasets."""

    bytes: int
    examples: int
    jobs_queued: int
    jobs_running: int


@dataclass(frozen=True)
class Quotas:
    """Limits of every tenant, each 0 for none."""

    bytes: int = 0
    examples: int = 0

    def check(self, session: Session, tenant: str, *, nbytes: int, examples: int) -> None:
        """Raises RateLimited where so much more would be over a limit."""
        if self.bytes and _bytes(session, tenant) + nbytes > self.bytes:
            raise _full("bytes_quota", f"{self.bytes} bytes")
        if self.examples and _examples(session, tenant) + examples > self.examples:
            raise _full("examples_quota", f"{self.examples} examples")


def usage(db: Database, tenant: str) -> Usage:
    """What a tenant holds."""
    with db.read() as session:
        return Usage(
            bytes=_bytes(session, tenant),
            examples=_examples(session, tenant),
            jobs_queued=_jobs(session, tenant, "queued"),
            jobs_running=_jobs(session, tenant, "running"),
        )


UNLIMITED = Quotas()


def _bytes(session: Session, tenant: str) -> int:
    return _held(session, tenant, func.sum(File.bytes), func.sum(Example.bytes))


def _examples(session: Session, tenant: str) -> int:
    return _held(session, tenant, func.sum(File.examples), func.count(Example.seq))


def _held(session: Session, tenant: str, of_files: Any, of_examples: Any) -> int:
    files = select(of_files).where(File.tenant == tenant)
    examples = (
        select(of_examples).join(Dataset, Example.dataset_id == Dataset.id).where(Dataset.tenant == tenant)
    )
    return (session.scalar(files) or 0) + (session.scalar(examples) or 0)


def _jobs(session: Session, tenant: str, status: str) -> int:
    query = select(func.count()).select_from(Job).where(Job.tenant == tenant, Job.status == status)
    return session.scalar(query) or 0


def _full(code: str, what: str) -> RateLimited:
    return RateLimited(
        f"The {what} that this tenant may store would be exceeded; delete what is no longer needed.",
        code=code,
        retry_after=_TRY_AGAIN_SECONDS,
    )
