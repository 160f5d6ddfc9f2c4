"""Fine-tuning jobs as their users see them: created, listed, followed, cancelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import queue
from app.db.audit import Subject, note
from app.db.database import Database
from app.db.tables import Job, JobEvent, Report
from app.services.data import DataSource, Source
from app.services.ids import new_id, now
from app.services.methods import Methods
from app.services.needs import check_files, check_needs, check_values, file_ids
from app.services.page import Page, before, fetch_page
from app.services.plan import Planner
from app.tracing import TRACING
from models.base import sha256
from models.errors import Conflict, DurianError, NotFound, RateLimited
from models.events import Event


@dataclass(frozen=True)
class JobRequest:
    """What `POST /v1/fine_tuning/jobs` asks for."""

    model: str
    training_file: str
    validation_file: str | None = None
    unlabelled_file: str | None = None
    suffix: str | None = None
    method: str = "auto"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        return sha256(orjson.dumps(vars(self), option=orjson.OPT_SORT_KEYS, default=dict))


def job_of(session: Session, tenant: str, job_id: str) -> Job:
    """The tenant's job. Raises NotFound."""
    job = session.scalar(select(Job).where(Job.id == job_id, Job.tenant == tenant))
    if job is None:
        raise NotFound("No such fine-tuning job.", param="fine_tuning_job_id")
    return job


class Jobs:
    """`wake` tells a worker of this process that there is something to do; `show` brings what is served up to
    what the database says."""

    def __init__(
        self,
        db: Database,
        data: DataSource,
        planner: Planner,
        methods: Methods,
        max_queued: int,
        wake: Callable[[], None],
        show: Callable[[], None] = lambda: None,
    ) -> None:
        self.db = db
        self.data = data
        self.planner = planner
        self.methods = methods
        self.max_queued = max_queued
        self.wake = wake
        self._show = show

    def create(self, tenant: str, request: JobRequest, idempotency_key: str | None = None) -> Job:
        """Check everything that can be checked before training, then enqueue.

        The same key with the same request gives the first job again; with another one, Conflict.
        """
        # Planning reads the examples: outside the write transaction, which is short and blocks others.
        with self.db.read() as session:
            job = _replayed(session, tenant, request, idempotency_key) or self._plan(session, tenant, request)
        if job.seq is not None:
            return job
        job.idempotency_key = idempotency_key
        try:
            job = self._enqueue(tenant, request, job)
        except IntegrityError:  # the same key at the same time, where the database lets both look first
            with self.db.read() as session:
                known = _replayed(session, tenant, request, idempotency_key)
            if known is None:
                raise
            return known
        self.wake()
        return job

    def _enqueue(self, tenant: str, request: JobRequest, job: Job) -> Job:
        """Add it, unless its key has been used. Raises RateLimited `queue_full`."""
        with self.db.write() as session:
            known = _replayed(session, tenant, request, job.idempotency_key)
            if known is not None:
                return known
            if queue.waiting(session, tenant) >= self.max_queued:
                raise RateLimited(
                    "Too many jobs are waiting; try again when some have ended.", code="queue_full"
                )
            session.add(job)
            session.flush()
            queue.append_events(session, job.id, now(), _created(job))
        return job

    def _plan(self, session: Session, tenant: str, request: JobRequest) -> Job:
        training = self.data.open(session, tenant, request.training_file, "training_file")
        method = self.methods.check(
            request.method, request.hyperparameters, training.task, training.input.modality
        )
        plan = self.planner.plan(session, tenant, request.model, request.suffix, training, method)
        others = self._others(session, tenant, request, training)
        check_needs(method, training, others.get("unlabelled"), plan.parent)
        check_values(method, request.hyperparameters, training)
        packs = {"training": training.digest, "validation": None, "unlabelled": None}
        packs |= {kind: source.digest for kind, source in others.items()}
        files = {
            name: self.data.open(session, tenant, name, param)
            for param, name in file_ids(method, request.hyperparameters)
        }
        check_files(method, request.hyperparameters, training, files, self.planner.max_classes)
        extras = {name: source.digest for name, source in files.items()}
        return _job(tenant, request, method["name"], {"packs": packs, "extras": extras, **plan.to_json()})

    def _others(
        self, session: Session, tenant: str, request: JobRequest, training: Source
    ) -> dict[str, Source]:
        """The validation and unlabelled data that were given."""
        found = {}
        for kind in ("validation", "unlabelled"):
            reference = getattr(request, f"{kind}_file")
            if reference is not None:
                found[kind] = self.data.open(session, tenant, reference, f"{kind}_file")
                found[kind].must_match(training, f"{kind}_file")
        return found

    def get(self, tenant: str, job_id: str) -> Job:
        """The job. Of one that has succeeded its version is served when this returns, here too."""
        with self.db.read() as session:
            job = job_of(session, tenant, job_id)
        if job.status == "succeeded":  # the transaction that says so comes before the catalogue's change
            with suppress(DurianError):  # what cannot be read now is served within a second of being readable
                self._show()
        return job

    def list(self, tenant: str, after: str | None, limit: int, metadata: Mapping[str, str]) -> Page[Job]:
        """Newest first; with `metadata`, those whose metadata holds every pair."""
        with self.db.read() as session:
            query = select(Job).where(Job.tenant == tenant)
            for key, value in metadata.items():
                query = query.where(Job.metadata_[key].as_string() == value)
            cursor = None if after is None else job_of(session, tenant, after)
            return fetch_page(session, before(query, cursor, Job.seq), limit)

    def cancel(self, tenant: str, job_id: str) -> Job:
        """End a job that has not ended; one that has stays as it is."""
        with self.db.write() as session:
            job = job_of(session, tenant, job_id)
            if queue.cancel(session, job_id, now()):
                note(session, "cancelled", Subject(tenant, "fine_tuning.job", job_id))
                queue.append_events(session, job_id, now(), [Event(message="The job was cancelled.")])
            session.refresh(job)
        self.wake()
        return job

    def events(self, tenant: str, job_id: str, after: int, limit: int) -> Page[JobEvent]:
        """The log in its order, behind the event number `after`."""
        with self.db.read() as session:
            job = job_of(session, tenant, job_id)
            query = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.seq > after)
            return fetch_page(session, query.order_by(JobEvent.seq), limit)

    def report(self, tenant: str, job_id: str) -> str:
        """The report of a succeeded job, as JSON text. Raises NotFound until there is one."""
        with self.db.read() as session:
            report = session.get(Report, job_of(session, tenant, job_id).id)
        if report is None:
            raise NotFound("This job has no report: only a succeeded job has one.", code="no_report")
        return report.body


def _replayed(session: Session, tenant: str, request: JobRequest, key: str | None) -> Job | None:
    if key is None:
        return None
    job = session.scalar(select(Job).where(Job.tenant == tenant, Job.idempotency_key == key))
    if job is not None and job.request_digest != request.digest():
        raise Conflict(
            "This Idempotency-Key was used for another request; use a new key.",
            code="idempotency_key_reused",
            param="Idempotency-Key",
        )
    return job


def _job(tenant: str, request: JobRequest, method: str, spec: dict[str, Any]) -> Job:
    carrier = TRACING.carrier()
    if carrier:
        spec = {**spec, "trace": carrier}
    return Job(
        id=new_id("ftjob"),
        tenant=tenant,
        status="queued",
        created_at=now(),
        model=request.model,
        target=spec["target"],
        suffix=request.suffix,
        method=method,
        hyperparameters=dict(request.hyperparameters),
        seed=request.seed if request.seed is not None else 0,
        metadata_=dict(request.metadata),
        training_file=request.training_file,
        validation_file=request.validation_file,
        unlabelled_file=request.unlabelled_file,
        spec=spec,
        request_digest=request.digest(),
        not_before=0.0,
        attempts=0,
        fence=0,
    )


def _created(job: Job) -> Sequence[Event]:
    return (
        Event(message=f"Created fine-tuning job {job.id} for the model {job.target}."),
        Event(message="The files were validated; the job waits for a worker."),
    )
