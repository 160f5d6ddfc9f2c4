"""A job that needs too much memory, hangs, dies or makes no numbers: each named, each tried again or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pydantic import ByteSize

from app.main import Process, build
from app.runners import local
from app.runners.inline import InlineRunner
from app.runners.local import LocalRunner
from app.runners.pressure import oom_kills
from app.services.jobs import JobRequest
from app.settings import Settings
from models.base import sha256
from models.fitspec import FitSpec
from models.manifest import GOLDEN, HEAD, MANIFEST, Manifest
from tests.faulty_child import ALLOCATES, DIES, DIES_TWICE, GIB, HANGS, NATIVE_OOM
from tests.support import jsonl, signal

TENANT = "default"
ROWS = [{"input": signal(i % 2, i), "label": str(i % 2)} for i in range(12)]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "ENTRY", "tests.faulty_child")
        patch.setattr(local, "_PRELOAD", ["tests.faulty_child", "app.runners.local"])
        settings = Settings(
            data=tmp_path_factory.mktemp("faults"),
            lanes=1,
            retry_seconds=0.02,
            job_silence_seconds=20.0,
            job_memory=ByteSize(2 * GIB),
        )
        process = build(settings, LocalRunner(settings.job_memory))
        process.services.registry.start()
        yield process
        process.close()


def ended(process: Process, seed: int, **changed: Any) -> Any:
    """The job of this seed, worked on until it has ended."""
    process.worker.settings = process.worker.settings.model_copy(update=changed)
    services = process.services
    file = services.files.create(TENANT, "s.jsonl", jsonl(ROWS), "fine-tune", None, None)
    request = JobRequest("signal/raw", file.id, suffix=f"m{seed}", method="ridge", seed=seed)
    job = services.jobs.create(TENANT, request)
    while job.status not in ("succeeded", "failed"):
        process.worker.work_once()
        job = services.jobs.get(TENANT, job.id)
    return job


@pytest.mark.parametrize("seed", [ALLOCATES, NATIVE_OOM], ids=["over its limit", "native code says so"])
def test_want_of_memory_is_named_and_not_repeated(process: Process, seed: int) -> None:
    job = ended(process, seed)
    assert (job.status, job.error["code"], job.attempts) == ("failed", "oom", 1)


def test_a_job_that_reports_nothing_is_ended_and_not_repeated(process: Process) -> None:
    job = ended(process, HANGS, job_silence_seconds=0.5)
    assert (job.status, job.error["code"], job.attempts) == ("failed", "timeout", 1)


def test_a_job_that_takes_too_long_is_ended(process: Process) -> None:
    job = ended(process, HANGS, job_silence_seconds=20.0, job_seconds=0.5)
    assert (job.status, job.error["code"], job.attempts) == ("failed", "timeout", 1)


def test_a_child_that_is_killed_is_started_again(process: Process) -> None:
    job = ended(process, DIES_TWICE, job_silence_seconds=60.0, job_seconds=60.0)
    assert (job.status, job.attempts) == ("succeeded", 3)
    assert [v.version for v in process.services.models.versions(TENANT, job.target)] == [1]


def test_a_child_that_always_dies_is_given_up(process: Process) -> None:
    job = ended(process, DIES, job_silence_seconds=60.0, job_seconds=60.0)
    assert (job.status, job.error["code"], job.attempts) == ("failed", "process_died", 3)


def test_the_kernels_kills_are_counted_where_they_can_be_seen(tmp_path: Path) -> None:
    own, group = tmp_path / "cgroup", tmp_path / "mounted" / "a" / "b"
    group.mkdir(parents=True)
    own.write_text("0::/a/b\n")
    (group / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills(own, tmp_path / "mounted") == 2
    assert oom_kills(tmp_path / "absent", tmp_path) == 0


class Diverged(InlineRunner):
    """Trains, then puts NaN into weights and golden answers, and signs that consistently."""

    def start(self, spec: FitSpec, spec_path: str) -> Any:
        run = super().start(spec, spec_path)
        run.kill()  # waits for the thread
        output = Path(spec.output)
        graph = onnx.load(output / HEAD)
        for tensor in graph.graph.initializer:
            if tensor.name == "weight":
                array = np.full_like(numpy_helper.to_array(tensor), np.nan)
                tensor.CopyFrom(numpy_helper.from_array(array, "weight"))
        onnx.save(graph, output / HEAD)
        with np.load(output / GOLDEN) as npz:
            arrays = dict(npz)
        arrays["outputs"] = np.full_like(arrays["outputs"], np.nan)
        np.savez(output / GOLDEN, **arrays)
        manifest = Manifest.model_validate_json((output / MANIFEST).read_bytes())
        files = {name: sha256((output / name).read_bytes()) for name in manifest.files}
        (output / MANIFEST).write_bytes(manifest.model_copy(update={"files": files}).canonical())
        return run


def test_weights_that_are_no_numbers_are_not_published(tmp_path: Path) -> None:
    process = build(Settings(data=tmp_path, lanes=1), Diverged())
    process.services.registry.start()
    job = ended(process, 0)
    assert (job.status, job.error["code"], job.attempts) == ("failed", "non_finite", 1)
    assert process.services.models.list(TENANT) == []
    process.close()
