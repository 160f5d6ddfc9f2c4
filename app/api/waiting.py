"""`Prefer: wait=N`: answer when the job has ended, or after N seconds."""

from __future__ import annotations

import asyncio
import re
import time

from fastapi.concurrency import run_in_threadpool

from app.db.tables import TERMINAL, Job
from app.services.container import Services

_MAX_SECONDS = 300.0
_POLL_SECONDS = 0.02
_POLL_GROWTH = 1.3
_POLL_MAX_SECONDS = 0.5


def seconds_of(prefer: str | None) -> float:
    """N of a `Prefer: wait=N` header; 0 where there is none."""
    match = re.search(r"(?:^|[,;\s])wait=(\d{1,6})", prefer or "")
    return min(float(match[1]), _MAX_SECONDS) if match else 0.0


async def ended(services: Services, tenant: str, job: Job, seconds: float) -> Job:
    """The job as it is once it has ended, the time is up, or the service is stopping."""
    deadline = time.monotonic() + seconds
    pause = _POLL_SECONDS
    while job.status not in TERMINAL and time.monotonic() < deadline and not services.health.stopping:
        await asyncio.sleep(pause)
        pause = min(pause * _POLL_GROWTH, _POLL_MAX_SECONDS)
        job = await run_in_threadpool(services.jobs.get, tenant, job.id)
    return job
