"""A job that a worker holds: its lease kept up, its log written, its end recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from app.db import queue
from app.db.database import Database
from app.db.tables import Job
from app.services.ids import now
from models.errors import DurianError, JobFailed, RateLimited, Unavailable
from models.errors import InsufficientStorage as NoRoom
from models.events import Event

_LOOK_SECONDS = 0.25
_AGAIN_SECONDS = 0.5
_NOT_ITS_OWN = (Unavailable, RateLimited, NoRoom)
PROCESS_DIED = "process_died"

log = logging.getLogger(__name__)
T = TypeVar("T")


class Lost(Exception):
    """The claim no longer stands: cancelled, taken over, or given back."""


def is_its_own(error: DurianError) -> bool:
    """Whether a job failed by a fault that a further attempt would only repeat."""
    return not isinstance(error, _NOT_ITS_OWN) and error.code != PROCESS_DIED


def backoff(first: float, attempts: int) -> float:
    """Seconds before the next of a job that has been started so often."""
    return min(queue.MAX_BACKOFF_SECONDS, first * 2.0 ** (attempts - 1))


@dataclass
class Claim:
    """The running contact with the database. While that is away the claim is kept: its fence decides."""

    db: Database
    job: Job
    lease: float
    stopping: Callable[[], bool] = lambda: False
    _renewed: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)
    _unsaid: list[Event] = field(default_factory=list)

    def check(self, *, now_at_once: bool = False) -> None:
        """Renew the lease when due; between renewals look whether it stands. Raises Lost."""
        clock = time.monotonic()
        due = clock - self._renewed > self.lease / 3
        if not (due or now_at_once or clock - self._looked > _LOOK_SECONDS):
            return
        self._looked = clock
        try:
            kept = self._renew() if due else self._stands()
        except DurianError as error:
            log.warning("the lease of job %s could not be looked after: %s", self.job.id, error.code)
            return
        if due:
            self._renewed = clock
        if not kept:
            raise Lost

    def _renew(self) -> bool:
        with self.db.write() as session:
            return queue.renew(session, self.job.id, self.job.fence, now() + self.lease)

    def _stands(self) -> bool:
        with self.db.read() as session:
            return queue.holds(session, self.job.id, self.job.fence)

    def say(self, events: Sequence[Event]) -> None:
        """Add to the job's log, with what could not be added before."""
        self._unsaid += events
        if not self._unsaid:
            return
        try:
            with self.db.write() as session:
                queue.append_events(session, self.job.id, now(), self._unsaid)
        except DurianError:
            return
        self._unsaid = []

    def fail(self, error: DurianError) -> None:
        """End the job as failed, unless the claim is lost."""
        body = {"code": error.code, "message": error.message, "param": error.param}
        event = Event(level="error", message=error.message, data={"code": error.code})
        self.patiently(lambda: self._end("failed", {"finished_at": now(), "error": body}, event))

    def _end(self, status: str, values: dict[str, object], event: Event) -> None:
        with self.db.write() as session:
            if queue.finish(session, self.job.id, self.job.fence, status, values):
                queue.append_events(session, self.job.id, now(), [event])

    def retry(self, error: DurianError, seconds: float) -> None:
        """Give the job back to the queue, to be tried again after a while."""
        message = f"{error.message} The job is tried again in {seconds:.0f} s."
        event = Event(level="warn", message=message, data={"code": error.code})
        self.patiently(lambda: self._requeue(seconds, event))

    def _requeue(self, seconds: float, event: Event) -> None:
        with self.db.write() as session:
            if queue.retry(session, self.job.id, self.job.fence, now() + seconds):
                queue.append_events(session, self.job.id, now(), [event])

    def release(self) -> None:
        """Give the job back as if it had not been started."""
        with self.db.write() as session:
            queue.release(session, self.job.id, self.job.fence)

    def patiently(self, action: Callable[[], T]) -> T:
        """Try until the database answers. Raises what it raises once the worker stops."""
        while True:
            try:
                return action()
            except (Unavailable, NoRoom):
                if self.stopping():
                    raise
            time.sleep(_AGAIN_SECONDS)


def lost_too_often(attempts: int) -> JobFailed:
    return JobFailed(
        f"The job's worker was lost {attempts} times; it is not tried again.", code="worker_lost"
    )
