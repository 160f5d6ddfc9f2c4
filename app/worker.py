"""Claim a job, run it in a child, register the result. `python -m app.worker` runs one alone.

The worker holds a job by a lease that it renews while the child lives. When the renewal is refused
(the job was cancelled, or another worker took it over) the child is killed and nothing is published.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import health, logs
from app.configuration import check_environment
from app.db import queue
from app.db.database import Database
from app.db.tables import Job
from app.runners.base import Run, Runner
from app.services.attendance import Attendance
from app.services.features import Embedder
from app.services.ids import now
from app.services.publication import Publisher
from app.services.specs import SpecBuilder
from app.services.workers import Workers
from app.settings import Settings
from models.errors import DurianError, JobFailed
from models.events import Event
from models.fitspec import BackboneChoice, FitSpec

_IDLE_SECONDS = 0.5
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 0.25
_FEATURES_SHARE = 0.3
_TRAINED_SHARE = 0.95
"""Progress of the whole job when its features are there, and when its training has ended."""

log = logging.getLogger(__name__)


class _Lost(Exception):
    """The claim no longer stands: cancelled, or taken over."""


@dataclass
class Claim:
    """A job this worker holds, and its running contact with the database."""

    db: Database
    job: Job
    lease: float
    _renewed: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)

    def check(self, *, now_at_once: bool = False) -> None:
        """Renew the lease when due; between renewals look whether it stands. Raises _Lost."""
        clock = time.monotonic()
        if clock - self._renewed > self.lease / 3:
            self._renewed = clock
            with self.db.write() as session:
                kept = queue.renew(session, self.job.id, self.job.fence, now() + self.lease)
        elif now_at_once or clock - self._looked > _LOOK_SECONDS:
            self._looked = clock
            with self.db.read() as session:
                kept = queue.holds(session, self.job.id, self.job.fence)
        else:
            return
        if not kept:
            raise _Lost

    def say(self, events: Sequence[Event]) -> None:
        if events:
            with self.db.write() as session:
                queue.append_events(session, self.job.id, now(), events)

    def fail(self, error: DurianError) -> None:
        """End the job as failed, unless the claim is lost."""
        body = {"code": error.code, "message": error.message, "param": error.param}
        with self.db.write() as session:
            values = {"finished_at": now(), "error": body}
            if queue.finish(session, self.job.id, self.job.fence, "failed", values):
                event = Event(level="error", message=error.message, data={"code": error.code})
                queue.append_events(session, self.job.id, now(), [event])


class Worker:
    """`run` loops until `stop`; `wake` cuts the idle wait short."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        runner: Runner,
        embedder: Embedder,
        specs: SpecBuilder,
        publisher: Publisher,
    ) -> None:
        self.settings = settings
        self.db = db
        self.runner = runner
        self.embedder = embedder
        self.specs = specs
        self.publisher = publisher
        self.owner = f"{socket.gethostname()[:40]}-{os.getpid()}"
        self._described: list[dict[str, Any]] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._attendance = Attendance(Workers(db), self.owner, self.methods, settings.data / health.BEAT)

    def start(self) -> None:
        """Work in threads of their own, one a job that may run at a time."""
        for i in range(self.settings.jobs):
            thread = threading.Thread(target=self.run, name=f"worker-{i}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._attendance.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Give running jobs back to the queue and end."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()
        self._attendance.stop()

    def methods(self) -> list[str]:
        """What can be trained here."""
        return [method["name"] for method in self._known() if method["available"]]

    def _known(self) -> list[dict[str, Any]]:
        if self._described is None:
            self._described = self.runner.methods()
        return self._described

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                worked = self.work_once()
            except DurianError as error:
                log.warning("the worker could not reach its queue: %s", error.code)
                worked = False
            if not worked:
                self._wake.wait(_IDLE_SECONDS)
                self._wake.clear()

    def work_once(self) -> bool:
        """Claim and run one job; False when none waits."""
        lacking = [method["name"] for method in self._known() if not method["available"]]
        with self.db.write() as session:
            job = queue.claim(session, self.owner, now(), self.settings.lease_seconds, lacking)
        if job is None:
            return False
        claim = Claim(self.db, job, self.settings.lease_seconds)
        try:
            self._attempt(claim)
        except _Lost:
            log.info("job %s was cancelled or taken over", job.id)
        except DurianError as error:
            claim.fail(error)
        except Exception:
            log.exception("job %s broke", job.id)
            claim.fail(JobFailed("The job failed inside the service; see its log.", code="internal"))
        return True

    def _attempt(self, claim: Claim) -> None:
        if claim.job.attempts > self.settings.max_attempts:
            raise JobFailed(
                f"The job's worker was lost {self.settings.max_attempts} times; it is not tried again.",
                code="worker_lost",
            )
        started = time.monotonic()
        spec = self.specs.build(claim.job)
        output = Path(spec.output)
        try:
            self._features(claim, spec)
            self._train(claim, self.runner.start(spec, self.specs.write(spec)))
            claim.check(now_at_once=True)
            claim.say(
                [
                    Event(
                        message="Trained; checking the artefact.",
                        data={"phase": "publish", "progress": _TRAINED_SHARE},
                    )
                ]
            )
            self.publisher.publish(claim.job, output)
        finally:
            shutil.rmtree(output.parent, ignore_errors=True)
        log.info("job %s ended after %.3f s", claim.job.id, time.monotonic() - started)

    def _features(self, claim: Claim, spec: FitSpec) -> None:
        packs = self.specs.packs(claim.job)
        computed = 0
        for choice in (*spec.backbones, *spec.baselines):
            card = self.embedder.shelf.get(choice.id)[0]
            for pack in packs:
                computed += self.embedder.ensure(card, choice.taps, pack, self._progress(claim, choice))
        claim.say(
            [
                Event(
                    message=f"Features are ready ({computed} computed, the rest from the cache).",
                    data={"phase": "features", "progress": _FEATURES_SHARE, "computed": computed},
                )
            ]
        )

    def _progress(self, claim: Claim, choice: BackboneChoice) -> Callable[[int, int], None]:
        said = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal said
            self._check(claim)
            if done and time.monotonic() - said > 0.5:
                said = time.monotonic()
                data = {"phase": "features", "progress": _FEATURES_SHARE * done / total}
                message = f"Computing features with {choice.id}: {done} of {total}."
                claim.say([Event(type="metrics", message=message, data=data)])

        return progress

    def _check(self, claim: Claim) -> None:
        if self._stopping.is_set():
            with self.db.write() as session:
                queue.release(session, claim.job.id, claim.job.fence, now())
            raise _Lost
        claim.check()

    def _train(self, claim: Claim, run: Run) -> None:
        """Follow the child to its end. Raises JobFailed with what it said."""
        try:
            while True:
                messages = run.messages(_POLL_SECONDS)
                claim.say([_rescaled(Event.model_validate(m["event"])) for m in messages if "event" in m])
                if any("done" in m for m in messages):
                    return
                _raise_failure(messages)
                if not messages and not run.alive():
                    raise JobFailed("The training process ended without a result.", code="process_died")
                self._check(claim)
        finally:
            run.kill()


def _rescaled(event: Event) -> Event:
    """Training's own progress, 0 to 1, as its part of the job's."""
    progress = event.data.get("progress")
    if not isinstance(progress, int | float):
        return event
    share = _FEATURES_SHARE + (_TRAINED_SHARE - _FEATURES_SHARE) * progress
    return event.model_copy(update={"data": {**event.data, "progress": round(share, 4)}})


def _raise_failure(messages: Sequence[dict[str, Any]]) -> None:
    for message in messages:
        if "failed" in message:
            raise JobFailed(message["failed"]["message"], code=message["failed"]["code"])


def main() -> None:
    """A worker process of its own, until SIGTERM or SIGINT."""
    from app.main import build  # here, since app.main wires a worker too

    logs.configure()
    check_environment(Settings)

    process = build(Settings())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    process.start(worker=True)
    stop.wait()
    process.close()


if __name__ == "__main__":
    main()
