"""The job queue: claims with leases and fences, one terminal state by compare-and-set.

A worker that lost its lease may still be running. Every write it makes names the fence of its claim,
and a write whose fence is no longer the job's changes nothing: execution is at-least-once,
publication exactly-once. That a job ends once is kept by the database too (migration 0003).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, and_, bindparam, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.db.tables import ACTIVE, Job, JobEvent
from models.events import Event

MAX_BACKOFF_SECONDS = 60.0
"""The longest a job waits to be tried again. One that seems to wait longer waits for a clock that jumped."""

_APART = {"synchronize_session": False}
_WAITING = select(Job.id).where(Job.status == "queued").limit(1)
_LEASES = select(Job.id, Job.fence, Job.lease_until).where(Job.status == "running")
_HELD = (
    select(Job.id)
    .where(Job.id == bindparam("job_id"), Job.fence == bindparam("fence"), Job.status == "running")
    .with_for_update()
)


@dataclass(frozen=True)
class Lease:
    """A running job's claim as its last renewal left it."""

    job_id: str
    fence: int
    until: float | None


def waits(session: Session) -> bool:
    """Whether any job is queued: without a lock, for those who look again and again."""
    return session.scalar(_WAITING) is not None


def claim(
    session: Session,
    owner: str,
    now: float,
    lease: float,
    *,
    running: int = 0,
    lacking: Collection[str] = (),
) -> Job | None:
    """Take the job whose turn it is; None when none waits.

    Tenants take turns: first comes who has waited longest since a job of his was first started, and of his
    jobs the oldest. A tenant with `running` jobs under way waits with its others; 0 is no limit. Jobs of the
    methods `lacking` are left to other workers.
    """
    for job_id in _heads(session, now, running, lacking):
        waits = select(Job).where(Job.id == job_id, Job.status == "queued")
        job = session.scalar(waits.with_for_update(skip_locked=True))
        if job is not None:
            job.status = "running"
            job.started_at = job.started_at or now
            job.attempts += 1
            job.fence += 1
            job.lease_owner = owner
            job.lease_until = now + lease
            return job
    return None


def _heads(session: Session, now: float, running: int, lacking: Collection[str]) -> list[str]:
    """The oldest waiting job of each tenant that may run one, by whose turn it is."""
    due = or_(Job.not_before <= now, Job.not_before > now + MAX_BACKOFF_SECONDS)
    waiting = and_(Job.status == "queued", due, Job.method.not_in(lacking))
    if running:
        busy = select(Job.tenant).where(Job.status == "running").group_by(Job.tenant)
        waiting = and_(waiting, Job.tenant.not_in(busy.having(func.count() >= running)))
    first = select(func.min(Job.seq)).where(waiting).group_by(Job.tenant)
    other = aliased(Job)
    served = select(func.max(other.started_at)).where(other.tenant == Job.tenant).scalar_subquery()
    heads = select(Job.id).where(Job.seq.in_(first))
    return list(session.scalars(heads.order_by(func.coalesce(served, 0.0), Job.seq)))


def leases(session: Session) -> list[Lease]:
    """Of all running jobs."""
    return [Lease(*row) for row in session.execute(_LEASES)]


def lapse(session: Session, lease: Lease) -> bool:
    """Give a silent worker's job back to the queue; False when it was heard of meanwhile."""
    statement = (
        update(Job)
        .where(Job.id == lease.job_id, Job.fence == lease.fence, Job.lease_until == lease.until)
        .where(Job.status == "running")
        .values(status="queued", lease_owner=None, lease_until=None, not_before=0.0)
    )
    return _changed(session.execute(statement))


def renew(session: Session, job_id: str, fence: int, lease_until: float) -> bool:
    """Prolong a lease; False when the job was cancelled or taken over."""
    return _set(session, job_id, fence, {"lease_until": lease_until})


def holds(session: Session, job_id: str, fence: int) -> bool:
    """Whether the claim with this fence still stands; the row stays locked to the transaction's end."""
    return session.scalar(_HELD, {"job_id": job_id, "fence": fence}) is not None


def finish(session: Session, job_id: str, fence: int, status: str, values: dict[str, Any]) -> bool:
    """Move a running job to a terminal state; False when its fence is stale."""
    return _set(session, job_id, fence, {"status": status, "lease_until": None, **values})


def release(session: Session, job_id: str, fence: int) -> bool:
    """Give a running job back to the queue; the start it loses so does not count as an attempt."""
    return _requeue(session, job_id, fence, 0.0, {"attempts": Job.attempts - 1})


def retry(session: Session, job_id: str, fence: int, not_before: float) -> bool:
    """Give a running job back to the queue after a fault that was not its own."""
    return _requeue(session, job_id, fence, not_before, {})


def _requeue(session: Session, job_id: str, fence: int, not_before: float, more: dict[str, Any]) -> bool:
    values = {"status": "queued", "lease_owner": None, "lease_until": None, "not_before": not_before}
    return _set(session, job_id, fence, {**values, **more})


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


def longest(session: Session) -> int:
    """How many jobs wait for the tenant that has most of them."""
    by_tenant = select(func.count().label("n")).where(Job.status == "queued").group_by(Job.tenant).subquery()
    return session.scalar(select(func.max(by_tenant.c.n))) or 0


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
    mine = (Job.id == job_id, Job.fence == fence, Job.status == "running")
    # A worker's session holds no job that would have to be told.
    return _changed(session.execute(update(Job).where(*mine).values(**values), execution_options=_APART))


def _changed(result: Any) -> bool:
    assert isinstance(result, CursorResult)  # noqa: S101 (an UPDATE always gives one; narrows the type)
    return result.rowcount == 1
