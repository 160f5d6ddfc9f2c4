"""Jobs over several machines on PostgreSQL and a bucket: each published once, though a worker dies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.many_machines import MOST_TAKEOVER_SECONDS, run
from tests.postgres import needs_postgres

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1_800), needs_postgres]
JOBS = int(os.environ.get("DURIAN_TEST_JOBS", "500"))


def test_every_job_is_published_once_though_a_worker_dies(tmp_path: Path) -> None:
    seen = run(JOBS, tmp_path)
    assert (seen.succeeded, seen.published_twice, seen.numbers_twice) == (JOBS, 0, 0)
    assert seen.takeover_seconds < MOST_TAKEOVER_SECONDS
    assert set(seen.answers) == {200}
