"""Claim a job, run it in a child, register the result. `python -m app.worker` runs one alone.

The worker holds a job by a lease that it renews while the child lives. When the renewal is refused
(the job was cancelled, or another worker took it over) the child is killed and nothing is published.
A job that failed by no fault of its own is tried again, after a pause and not for ever.
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
from pathlib import Path
from typing import Any

from app import health, logs, tracing
from app.configuration import check_environment
from app.db import queue
from app.db.database import Database
from app.db.news import News
from app.runners.base import OOM, Run, Runner
from app.services.attendance import Attendance
from app.services.claims import PROCESS_DIED, Claim, Lost, backoff, is_its_own, lost_too_often
from app.services.features import Embedder
from app.services.ids import now
from app.services.leases import Leases
from app.services.publication import Publisher
from app.services.specs import SpecBuilder
from app.services.workers import Workers
from app.settings import Settings
from app.tracing import TRACING
from models.disk import named
from models.errors import DurianError, JobFailed
from models.events import Event
from models.fitspec import BackboneChoice, FitSpec

_IDLE_SECONDS = 0.5
_POLL_SECONDS = 0.05
_FEATURES_SHARE = 0.3
_TRAINED_SHARE = 0.95
"""Progress of the whole job when its features are there, and when its training has ended."""

log = logging.getLogger(__name__)


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
        self.leases = Leases(db, settings.lease_seconds)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._attendance = Attendance(Workers(db), self.owner, self.methods, settings.data / health.BEAT)

    def start(self) -> None:
        """Work in threads of their own, one a job that may run at a time; and watch others' leases."""
        work = [(f"worker-{i}", self.run) for i in range(self.settings.jobs)]
        for name, target in [*work, ("leases", self._watch)]:
            thread = threading.Thread(target=target, name=name, daemon=True)
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
        self.leases.close()
        self._attendance.stop()

    def methods(self) -> list[str]:
        """What can be trained here."""
        return [method["name"] for method in self._known() if method["available"]]

    def _known(self) -> list[dict[str, Any]]:
        if self._described is None:
            self._described = self.runner.methods()
        return self._described

    def run(self) -> None:
        news, worked = News(self.db), None
        while not self._stopping.is_set():
            try:
                if news.come() or worked is not None:
                    worked = self.work_once()
                    news.heard()
            except DurianError as error:
                log.warning("the worker could not reach its queue: %s", error.code)
                worked = False
            if not worked:
                self._wake.wait(_IDLE_SECONDS)
                self._wake.clear()
        news.close()

    def _watch(self) -> None:
        while not self._stopping.wait(min(1.0, self.settings.lease_seconds / 4)):
            try:
                lapsed = self.leases.look()
            except DurianError as error:
                log.warning("the leases of jobs cannot be read: %s", error.code)
                continue
            for job_id in lapsed:
                log.warning("the worker of job %s fell silent; the job is given back", job_id)
                self.wake()

    def work_once(self) -> bool | None:
        """Claim and run one job; None when none waits, False when those that do have to go on waiting."""
        with self.db.read() as session:
            if not queue.waits(session):
                return None
        lacking = [method["name"] for method in self._known() if not method["available"]]
        with self.db.write() as session:
            job = queue.claim(
                session,
                self.owner,
                now(),
                self.settings.lease_seconds,
                running=self.settings.max_running_jobs,
                lacking=lacking,
            )
        if job is None:
            return False
        claim = Claim(self.db, job, self.settings.lease_seconds, self._stopping.is_set)
        with logs.bound(job_id=job.id), TRACING.span("job", job.spec.get("trace"), job_id=job.id):
            self._work(claim)
        return True

    def _work(self, claim: Claim) -> None:
        job = claim.job
        try:
            self._attempt(claim)
        except Lost:
            log.info("job %s was cancelled, taken over or given back", job.id)
        except DurianError as error:
            self._failed(claim, error)
        except OSError as error:
            log.exception("job %s met a fault of the disk", job.id)
            self._failed(claim, named(error))
        except Exception:
            log.exception("job %s broke", job.id)
            claim.fail(JobFailed("The job failed inside the service; see its log.", code="internal"))

    def _failed(self, claim: Claim, error: DurianError) -> None:
        """The end of an attempt: of the job too, unless a further one may do better."""
        if is_its_own(error) or claim.job.attempts >= self.settings.max_attempts:
            claim.fail(error)
        else:
            claim.retry(error, backoff(self.settings.retry_seconds, claim.job.attempts))

    def _attempt(self, claim: Claim) -> None:
        if claim.job.attempts > self.settings.max_attempts:
            raise lost_too_often(self.settings.max_attempts)
        started = time.monotonic()
        self._clear_earlier(claim)
        spec = self.specs.build(claim.job)
        output = Path(spec.output)
        try:
            with TRACING.span("features"):
                self._features(claim, spec)
            with TRACING.span("train"):
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
            with TRACING.span("publish"):
                self.publisher.publish(claim, output)
        finally:
            shutil.rmtree(output.parent, ignore_errors=True)
        log.info("job %s ended after %.3f s", claim.job.id, time.monotonic() - started)

    def _clear_earlier(self, claim: Claim) -> None:
        """What claims of this job left that did not live to clear it away."""
        for folder in self.settings.work.glob(f"{claim.job.id}-*"):
            shutil.rmtree(folder, ignore_errors=True)

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
            claim.release()
            raise Lost
        claim.check()

    def _train(self, claim: Claim, run: Run) -> None:
        """Follow the child to its end. Raises JobFailed with what it said, or with how it ended."""
        started = heard = time.monotonic()
        try:
            while True:
                messages = run.messages(_POLL_SECONDS)
                claim.say([_rescaled(Event.model_validate(m["event"])) for m in messages if "event" in m])
                if any("done" in m for m in messages):
                    return
                _raise_failure(messages)
                clock = time.monotonic()
                heard = clock if messages else heard
                if not messages and not run.alive():
                    raise _died(run.fate())
                self._check_time(clock - started, clock - heard)
                self._check(claim)
        finally:
            run.kill()

    def _check_time(self, seconds: float, silent: float) -> None:
        if silent > self.settings.job_silence_seconds:
            raise JobFailed(f"The job hung: it reported nothing for {silent:.0f} s.", code="timeout")
        if seconds > self.settings.job_seconds:
            raise JobFailed(f"The job took longer than the {seconds:.0f} s it may take.", code="timeout")


def _died(fate: str) -> JobFailed:
    if fate == OOM:
        return JobFailed("The job needs more memory than it may use; use fewer examples.", code=OOM)
    return JobFailed("The training process ended without a result.", code=PROCESS_DIED)


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
    logs.configure()
    tracing.configure()
    check_environment(Settings)
    from app.main import build  # here, since app.main wires a worker too

    process = build(Settings())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    process.start(worker=True)
    stop.wait()
    process.close()


if __name__ == "__main__":
    main()
