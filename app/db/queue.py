"""The job queue: claims with leases and fences, one terminal state by compare-and-set.

A worker that lost its lease may still be running. Every write it makes names the fence of its claim,
and a write whose fence is no longer the job's changes nothing: execution is at-least-once,
publication exactly-once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import Session

from app.db.tables import ACTIVE, Job, JobEvent
from models.events import Event


def claim(
    session: Session,
    owner: str,
    now: float,
    lease: float,
    *,
    running: int = 0,
    lacking: Collection[str] = (),
) -> Job | None:
    """Take the oldest waiting job, or one whose worker fell silent; None when there is none.

    A tenant with `running` jobs under way waits with its others; 0 is no limit. Jobs of the methods
    `lacking` are left to other workers.
    """
    waiting = and_(Job.status == "queued", Job.not_before <= now)
    if running:
        busy = select(Job.tenant).where(Job.status == "running").group_by(Job.tenant)
        waiting = and_(waiting, Job.tenant.not_in(busy.having(func.count() >= running)))
    abandoned = and_(Job.status == "running", Job.lease_until < now)
    job = session.scalar(
        select(Job)
        .where(or_(waiting, abandoned), Job.method.not_in(lacking))
        .order_by(Job.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if job is None:
        return None
    job.status = "running"
    job.started_at = job.started_at or now
    job.attempts += 1
    job.fence += 1
    job.lease_owner = owner
    job.lease_until = now + lease
    return job


def renew(session: Session, job_id: str, fence: int, lease_until: float) -> bool:
    """Prolong a lease; False when the job was cancelled or taken over."""
    return _set(session, job_id, fence, {"lease_until": lease_until})


def holds(session: Session, job_id: str, fence: int) -> bool:
    """Whether the claim with this fence still stands; the row stays locked to the transaction's end."""
    query = select(Job.id).where(Job.id == job_id, Job.fence == fence, Job.status == "running")
    return session.scalar(query.with_for_update()) is not None


def finish(session: Session, job_id: str, fence: int, status: str, values: dict[str, Any]) -> bool:
    """Move a running job to a terminal state; False when its fence is stale."""
    return _set(session, job_id, fence, {"status": status, "lease_until": None, **values})


def release(session: Session, job_id: str, fence: int, not_before: float) -> bool:
    """Give a running job back to the queue; the start it loses so does not count as an attempt."""
    values = {
        "status": "queued",
        "lease_owner": None,
        "lease_until": None,
        "not_before": not_before,
        "attempts": Job.attempts - 1,
    }
    return _set(session, job_id, fence, values)


def cancel(session: Session, job_id: str, now: float) -> bool:
    """Cancel a job that has not ended; False when it has."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status.in_(ACTIVE))
        .values(status="cancelled", finished_at=now, lease_until=None)
    )
    return _changed(session.execute(statement))


def waiting(session: Session, tenant: str) -> int:
    """How many jobs of a tenant wait for a worker."""
    query = select(func.count()).where(Job.tenant == tenant, Job.status == "queued")
    return session.scalar(query) or 0


def append_events(session: Session, job_id: str, now: float, events: Sequence[Event]) -> None:
    """Add lines to a job's log."""
    session.add_all(
        JobEvent(
            job_id=job_id,
            created_at=now,
            level=event.level,
            type=event.type,
            message=event.message,
            data=dict(event.data),
        )
        for event in events
    )


def _set(session: Session, job_id: str, fence: int, values: dict[str, Any]) -> bool:
    statement = (
        update(Job).where(Job.id == job_id, Job.fence == fence, Job.status == "running").values(**values)
    )
    return _changed(session.execute(statement))


def _changed(result: Any) -> bool:
    assert isinstance(result, CursorResult)  # noqa: S101 (an UPDATE always gives one; narrows the type)
    return result.rowcount == 1
