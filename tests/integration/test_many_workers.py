"""Two services and three workers on one database: every job is published once, and seen by both services."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select

from app.db.tables import Job, Version
from app.main import Process, build
from app.runners.inline import InlineRunner
from app.services.jobs import JobRequest
from app.settings import Settings
from tests.postgres import needs_postgres, new_database, postgres
from tests.support import jsonl, signal

TENANT = "default"
JOBS = 12
SEEN_SECONDS = 2.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "sqlite":
        yield Settings(data=tmp_path, lanes=1)
        return
    with postgres() as (server, _):
        yield Settings(data=tmp_path, lanes=1, database=new_database(server))


def test_every_job_is_published_once_and_seen_everywhere(settings: Settings) -> None:
    with ExitStack() as stack:
        processes = [build(settings, InlineRunner()) for _ in range(5)]
        for process in processes:
            stack.callback(process.close)
            process.services.registry.start()
        services, workers = processes[:2], processes[2:]
        for worker in workers:
            worker.worker.owner += f"-{id(worker)}"
            worker.worker.start()
        submit(services)
        wait(services[0])
        ended = time.monotonic()
        rows = published(services[0])
        assert Counter(job for job, _, _ in rows) == Counter(ids(services[0]))
        assert sorted((name, version) for _, name, version in rows) == sorted(
            (f"m{i}", version + 1) for i in range(2) for version in range(JOBS // 2)
        )
        seen_by_all(services, JOBS // 2, ended)
        submit(services, 2)  # and what is served already gives way to a newer one
        wait(services[0])
        seen_by_all(services, JOBS // 2 + 1, time.monotonic())


def seen_by_all(services: list[Process], version: int, published: float) -> None:
    """Each service, without a restart, serves that version of both models soon enough."""
    for service in services:
        catalogue = service.services.serving.catalogue
        while {name: catalogue.resolve(TENANT, name).version for name in catalogue.snapshot(TENANT)} != {
            "m0": version,
            "m1": version,
        }:
            assert time.monotonic() - published < SEEN_SECONDS
            time.sleep(0.05)


def submit(services: list[Process], jobs: int = JOBS) -> None:
    """Jobs by turns from both services, all for two models."""
    rows = [{"input": signal(i % 2, i), "label": f"class {i % 2}"} for i in range(16)]
    for i in range(jobs):
        parts = services[i % 2].services
        file = parts.files.create(TENANT, "s.jsonl", jsonl(rows), "fine-tune", None, None)
        request = JobRequest("signal/raw", file.id, suffix=f"m{i % 2}", method="logistic", seed=i)
        parts.jobs.create(TENANT, request)


def wait(service: Process) -> None:
    deadline = time.monotonic() + 60
    while set(statuses(service)) != {"succeeded"}:
        assert time.monotonic() < deadline, statuses(service)
        time.sleep(0.05)


def statuses(service: Process) -> Counter[str]:
    with service.services.db.read() as session:
        return Counter(session.scalars(select(Job.status)))


def ids(service: Process) -> list[str]:
    with service.services.db.read() as session:
        return list(session.scalars(select(Job.id)))


def published(service: Process) -> list[tuple[str, str, int]]:
    query = select(Version.job_id, Job.target, Version.version).join(Job, Job.id == Version.job_id)
    with service.services.db.read() as session:
        return [(job, target, version) for job, target, version in session.execute(query)]
