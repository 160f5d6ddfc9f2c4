"""New versions go live under load: each answer is one whole version's, none an error, memory stays bounded.

The weights of version n are constant: it answers n, whatever the input. So a mixed answer would show.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from app.db import queue
from app.db.tables import Job, Report
from app.main import Process, app_of, build
from app.runners.inline import InlineRunner
from app.services.claims import Claim
from app.services.ids import now
from app.services.jobs import JobRequest
from app.settings import Settings
from models.base import sha256
from models.manifest import GOLDEN, HEAD, MANIFEST, REPORT, Manifest
from tests.job_rows import job_row
from tests.support import jsonl, signal
from tests.trunks import affine_onnx

TENANT = "default"
ROWS = [{"input": signal(i % 2, i), "label": float(i % 2)} for i in range(12)]
CLIENTS = 8
MAX_GROWTH = 100 * 1024 * 1024


class Swapper:
    """Publishes versions the way the worker does, without training each."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.digests: dict[int, str] = {}
        services = process.services
        file = services.files.create(TENANT, "s.jsonl", jsonl(ROWS), "fine-tune", None, "regression")
        job = services.jobs.create(TENANT, JobRequest("signal/raw", file.id, suffix="m", method="ridge"))
        assert process.worker.work_once()
        row = services.jobs.get(TENANT, job.id)
        assert row.result is not None, row.error
        self.source = services.settings.artefacts / row.result["digest"][:2] / row.result["digest"]
        with services.db.read() as session:
            report = session.get(Report, job.id)
            assert report is not None
            self.report = report.body

    def publish(self, number: int) -> None:
        """Version `number`, which answers that."""
        output = self.process.services.settings.work / f"swap-{number}"
        output.mkdir(parents=True)
        manifest = self._write(output, number)
        with self.process.services.db.write() as session:
            session.add(job_row(f"swap-{number}"))
        with self.process.services.db.write() as session:
            job = queue.claim(session, "test", now(), 60.0)
        assert isinstance(job, Job)
        self.digests[number] = manifest.digest
        published = self.process.worker.publisher.publish(Claim(self.process.services.db, job, 60.0), output)
        assert published is not None
        assert published.version == number

    def _write(self, output: Path, number: int) -> Manifest:
        manifest = Manifest.model_validate_json((self.source / MANIFEST).read_bytes())
        weight = np.zeros((1, manifest.head.in_dim), np.float32)
        (output / HEAD).write_bytes(affine_onnx(weight, np.array([number], np.float32), "identity"))
        for name in manifest.files.keys() - {HEAD, GOLDEN}:
            (output / name).write_bytes((self.source / name).read_bytes())
        with np.load(self.source / GOLDEN) as npz:
            arrays = dict(npz)
        arrays["outputs"] = np.full_like(arrays["outputs"], number)
        np.savez(output / GOLDEN, **arrays)
        files = {name: sha256((output / name).read_bytes()) for name in manifest.files}
        manifest = manifest.model_copy(update={"files": files})
        (output / MANIFEST).write_bytes(manifest.canonical())
        (output / REPORT).write_text(self.report)
        return manifest


async def predict(client: httpx.AsyncClient, stop: asyncio.Event, seen: list[Any]) -> None:
    while not stop.is_set():
        answer = await client.post("/v1/predictions", json={"model": "m", "input": signal(0, len(seen))})
        seen.append((answer.status_code, answer.json()))


async def swap_under_load(process: Process, swaps: int) -> tuple[list[Any], Swapper]:
    app = app_of(process, worker=False)
    swapper = Swapper(process)
    seen: list[Any] = []
    stop = asyncio.Event()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as client,
    ):
        await asyncio.to_thread(swapper.publish, 2)
        clients = [asyncio.create_task(predict(client, stop, seen)) for _ in range(CLIENTS)]
        for number in range(3, swaps + 2):
            await asyncio.to_thread(swapper.publish, number)
        stop.set()
        await asyncio.gather(*clients)
    return seen, swapper


def check(seen: list[Any], swapper: Swapper) -> None:
    assert [answer for answer in seen if answer[0] != 200] == []
    for _, body in seen:
        assert body["data"][0]["value"] == body["version"], "the answer of one version under another's name"
        assert body["digest"] == swapper.digests[body["version"]]
    versions = [body["version"] for _, body in seen]
    assert len(set(versions)) > len(swapper.digests) // 2, "the load saw the swaps"


@pytest.mark.parametrize(
    "swaps", [50, pytest.param(200, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])]
)
def test_swaps_under_load(tmp_path: Path, swaps: int) -> None:
    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    before = psutil.Process().memory_info().rss
    seen, swapper = asyncio.run(swap_under_load(process, swaps))
    check(seen, swapper)
    assert len(swapper.digests) == swaps
    assert psutil.Process().memory_info().rss - before < MAX_GROWTH


def test_the_check_finds_a_mixed_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that names the live version, whichever answered, is found out."""
    from app.engine.engine import Engine

    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    run, first = Engine.predict, {}

    async def mixed(self: Engine, model: Any, *arguments: Any, **options: Any) -> Any:
        return await run(self, first.setdefault("model", model), *arguments, **options)

    monkeypatch.setattr(Engine, "predict", mixed)
    seen, swapper = asyncio.run(swap_under_load(process, 5))
    with pytest.raises(AssertionError, match="under another's name"):
        check(seen, swapper)
