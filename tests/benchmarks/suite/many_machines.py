"""Many jobs over several machines, one of which dies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.many_machines import LEASE_SECONDS, MOST_TAKEOVER_SECONDS, run


@benchmark("Many machines: jobs over three workers", apart=True)
def many_machines(setup: Setup) -> Iterator[Row]:
    """Two services and three workers as processes of one machine, each with a data folder of its own, on one
    PostgreSQL and an S3 bucket (moto's server). Jobs of `logistic` on 12 signals go to both services; when a
    fifth of them has ended, one worker is killed by SIGKILL while it runs one.
    """
    if shutil.which("initdb") is None:
        raise Skipped("PostgreSQL's initdb is not here.")
    with TemporaryDirectory(prefix="durian-many-") as folder:
        seen = run(setup.amount(500, 10), Path(folder))
    yield Row(what="jobs", value=seen.submitted, digits=0)
    yield Row(what="lost", value=seen.submitted - seen.succeeded, digits=0, at_most=0, how="no version of it")
    twice = seen.published_twice + seen.numbers_twice
    yield Row(what="published twice", value=twice, digits=0, at_most=0, how="of a job, or of a number")
    how = f"SIGKILL until another worker has the job; the lease is {LEASE_SECONDS:.0f} s"
    seconds = seen.takeover_seconds
    yield Row(what="takeover", value=seconds, unit="s", at_most=MOST_TAKEOVER_SECONDS, how=how)
    how = f"submission of the first to the end of the last: {seen.seconds:,.0f} s in all"
    yield Row(what="a job", value=seen.seconds / seen.submitted, unit="s", digits=2, how=how)
