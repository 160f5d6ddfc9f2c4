"""Two services and three workers, each with a data folder of its own, on PostgreSQL and a bucket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from app.db.database import Database
from app.db.tables import Job, Version
from tests.buckets import s3, settings_of
from tests.postgres import needs_postgres, new_database, postgres
from tests.support import jsonl
from tests.support import signal as wave

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1_800), needs_postgres]
JOBS = int(os.environ.get("DURIAN_TEST_JOBS", "500"))
LEASE_SECONDS = 5.0


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "pepper").write_text("of the test")
    with postgres() as (server, _), s3() as address:
        told = {**settings_of(address), "database": new_database(server), "pepper": str(tmp_path / "pepper")}
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


def service(folder: Path, environment: dict[str, str], stack: ExitStack) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    machine = Machine(folder, environment, "serve", "--no-worker", "--port", port)
    stack.callback(machine.stop)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not ready(url):
        assert time.monotonic() < deadline, machine.log.read_text()
        time.sleep(0.1)
    return url


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_every_job_is_published_once_though_a_worker_dies(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        urls = [service(tmp_path / f"service{i}", environment, stack) for i in range(2)]
        workers = [Machine(tmp_path / f"worker{i}", environment, "worker") for i in range(3)]
        for worker in workers:
            stack.callback(worker.stop)
        submit(urls)
        db = Database(environment["DURIAN_DATABASE"])
        stack.callback(db.close)
        wait_for(db, lambda done: done["succeeded"] >= JOBS // 5)
        took_over = kill_while_it_runs(db, workers[0])
        wait_for(db, lambda done: set(done) == {"succeeded"})
        with db.read() as session:
            jobs = list(session.scalars(select(Job.id)))
            published = Counter(session.scalars(select(Version.job_id)))
            numbers = list(session.execute(select(Version.model_id, Version.version)))
        assert len(jobs) == JOBS
        assert published == Counter(jobs)
        assert len(set(numbers)) == JOBS
        print(f"{JOBS} jobs, each published once; a lost worker's was taken over in {took_over:.1f} s")
        for url in urls:
            body = {"model": "m0", "input": [wave(0, 1)]}
            answer = httpx.post(f"{url}/v1/predictions", json=body, timeout=60)
            assert answer.status_code == 200, answer.text


def submit(urls: list[str]) -> None:
    rows = jsonl([{"input": wave(i % 2, i), "label": f"class {i % 2}"} for i in range(12)])
    files = {"file": ("s.jsonl", rows)}
    file = httpx.post(f"{urls[0]}/v1/files", files=files, data={"purpose": "fine-tune"}, timeout=60).json()[
        "id"
    ]
    for i in range(JOBS):
        body = {
            "model": "signal/raw",
            "training_file": file,
            "suffix": f"m{i % 5}",
            "seed": i,
            "method": {"type": "logistic"},
        }
        answer = httpx.post(f"{urls[i % 2]}/v1/fine_tuning/jobs", json=body, timeout=60)
        assert answer.status_code == 200, answer.text


def statuses(db: Database) -> Counter[str]:
    with db.read() as session:
        return Counter(session.scalars(select(Job.status)))


def wait_for(db: Database, condition: object, seconds: float = 1_200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition(statuses(db)):  # type: ignore[operator]
        assert time.monotonic() < deadline, statuses(db)
        time.sleep(0.2)


def kill_while_it_runs(db: Database, worker: Machine) -> float:
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
    killed = time.monotonic()
    while True:
        with db.read() as session:
            if session.scalar(select(Job.fence).where(Job.id == held.id)) > held.fence:
                return time.monotonic() - killed
        assert time.monotonic() - killed < LEASE_SECONDS + 5, "nobody took the job over"
        time.sleep(0.05)
