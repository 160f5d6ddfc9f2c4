"""Two services and three workers, each with a data folder of its own, on PostgreSQL and a bucket.

Jobs are submitted to both services, one worker is killed while it runs one, and the rows tell what became of
each job.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import select

from app.db.database import Database
from app.db.tables import Job, Version
from tests.buckets import s3, settings_of
from tests.ports import free_port
from tests.postgres import new_database, postgres
from tests.support import jsonl
from tests.support import signal as wave

LEASE_SECONDS = 5.0
MOST_TAKEOVER_SECONDS = LEASE_SECONDS + 5
SERVICES, WORKERS, MODELS = 2, 3, 5
_SECONDS = 1_500.0


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs, and how long it took."""

    submitted: int
    succeeded: int
    published_twice: int
    numbers_twice: int
    takeover_seconds: float
    seconds: float
    answers: tuple[int, ...]
    """Statuses of predictions by each model, from each service."""


def run(jobs: int, folder: Path) -> Outcome:
    """Submit so many jobs and wait until each has ended. Raises AssertionError where that takes too long."""
    with ExitStack() as stack:
        environment = stack.enter_context(_ground(folder))
        urls = [_service(folder / f"service{i}", environment, stack) for i in range(SERVICES)]
        workers = [Machine(folder / f"worker{i}", environment, "worker") for i in range(WORKERS)]
        for worker in workers:
            stack.callback(worker.stop)
        db = Database(environment["DURIAN_DATABASE"])
        stack.callback(db.close)
        began = time.monotonic()
        _submit(urls, jobs)
        _wait_for(db, lambda done: done["succeeded"] >= jobs // 5)
        takeover = _kill_while_it_runs(db, workers[0])
        _wait_for(db, lambda done: set(done) <= {"succeeded", "failed"})
        seconds = time.monotonic() - began
        answers = tuple(_answer(url, f"m{i}") for url in urls for i in range(MODELS))
        return _outcome(db, jobs, takeover, seconds, answers)


def _outcome(db: Database, jobs: int, takeover: float, seconds: float, answers: tuple[int, ...]) -> Outcome:
    with db.read() as session:
        published = Counter(session.scalars(select(Version.job_id)))
        numbers = Counter(tuple(row) for row in session.execute(select(Version.model_id, Version.version)))
    return Outcome(
        jobs,
        sum(id in published for id in _succeeded(db)),
        sum(count > 1 for count in published.values()),
        sum(count > 1 for count in numbers.values()),
        takeover,
        seconds,
        answers,
    )


@contextmanager
def _ground(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of every process."""
    (folder / "pepper").write_text("of the test")
    with postgres() as (server, _), s3() as address:
        told = {**settings_of(address), "database": new_database(server), "pepper": str(folder / "pepper")}
        told |= {"lease_seconds": str(LEASE_SECONDS), "lanes": "1", "max_queued_jobs": "10000"}
        yield {**os.environ, **{f"DURIAN_{name.upper()}": value for name, value in told.items()}}


class Machine:
    """One process, and what it writes."""

    def __init__(self, folder: Path, environment: dict[str, str], *command: str) -> None:
        folder.mkdir()
        self.log = folder / "log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", *command],
                env={**environment, "DURIAN_DATA": str(folder / "data")},
                stdout=out,
                stderr=out,
            )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _service(folder: Path, environment: dict[str, str], stack: ExitStack) -> str:
    port = str(free_port())
    machine = Machine(folder, environment, "serve", "--no-worker", "--port", port)
    stack.callback(machine.stop)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not _ready(url):
        assert time.monotonic() < deadline, machine.log.read_text()
        time.sleep(0.1)
    return url


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def _answer(url: str, model: str) -> int:
    body = {"model": model, "input": [wave(0, 1)]}
    return httpx.post(f"{url}/v1/predictions", json=body, timeout=60).status_code


def _submit(urls: list[str], jobs: int) -> None:
    rows = jsonl([{"input": wave(i % 2, i), "label": f"class {i % 2}"} for i in range(12)])
    files, purpose = {"file": ("s.jsonl", rows)}, {"purpose": "fine-tune"}
    file = httpx.post(f"{urls[0]}/v1/files", files=files, data=purpose, timeout=60).json()["id"]
    for i in range(jobs):
        body = {
            "model": "signal/raw",
            "training_file": file,
            "suffix": f"m{i % MODELS}",
            "seed": i,
            "method": {"type": "logistic"},
        }
        answer = httpx.post(f"{urls[i % SERVICES]}/v1/fine_tuning/jobs", json=body, timeout=60)
        assert answer.status_code == 200, answer.text


def _succeeded(db: Database) -> list[str]:
    with db.read() as session:
        return list(session.scalars(select(Job.id).where(Job.status == "succeeded")))


def _wait_for(db: Database, condition: Callable[[Counter[str]], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        with db.read() as session:
            done = Counter(session.scalars(select(Job.status)))
        if condition(done):
            return
        assert time.monotonic() < deadline, done
        time.sleep(0.2)


def _kill_while_it_runs(db: Database, worker: Machine) -> float:
    """Seconds until another worker has the job that the killed one ran."""
    owner = f"{socket.gethostname()[:40]}-{worker.process.pid}"
    query = select(Job.id, Job.fence).where(Job.lease_owner == owner, Job.status == "running")
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "it never ran a job"
        with db.read() as session:
            held = session.execute(query).first()
        if held is None:
            continue
        worker.process.send_signal(signal.SIGSTOP)  # so that it does not end between the look and the kill
        with db.read() as session:
            if session.execute(query.where(Job.id == held.id, Job.fence == held.fence)).first():
                break
        worker.process.send_signal(signal.SIGCONT)
    worker.process.kill()
    worker.process.wait()
    return _taken_over(db, held.id, held.fence)


def _taken_over(db: Database, job: str, fence: int) -> float:
    killed = time.monotonic()
    while True:
        with db.read() as session:
            if (session.scalar(select(Job.fence).where(Job.id == job)) or 0) > fence:
                return time.monotonic() - killed
        assert time.monotonic() - killed < 6 * LEASE_SECONDS, "nobody took the job over"
        time.sleep(0.05)
