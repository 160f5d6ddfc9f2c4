"""What a sweep takes and what it leaves."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from app.main import Process, build
from app.runners.inline import InlineRunner
from app.services.jobs import JobRequest
from app.services.sweep import Sweeper
from app.settings import Settings
from models.features import size as cached
from tests.support import TEXTS, jsonl

TENANT = "default"
HOURS = 2 * 3_600


def process_of(tmp_path: Path) -> Process:
    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    process.services.registry.start()
    return process


def upload(process: Process, text: str) -> str:
    rows = [*TEXTS, {"input": text, "label": "refund"}]
    return process.services.files.create(TENANT, "t.jsonl", jsonl(rows), "fine-tune", None, None).id


def age(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, (time.time() - HOURS, time.time() - HOURS))


def stored(root: Path) -> set[str]:
    return {path.name for path in root.glob("??/*")}


def test_a_sweep_takes_what_nothing_names_and_leaves_the_rest(tmp_path: Path) -> None:
    process = process_of(tmp_path)
    settings, sweeper = process.services.settings, Sweeper(process.services.settings, process.services.db)
    kept, dropped, queued = (upload(process, text) for text in ("kept", "dropped", "queued"))
    for file, suffix in ((kept, "stays"), (dropped, "goes")):
        process.services.jobs.create(TENANT, JobRequest("text/minilm-l6", file, suffix=suffix))
        assert process.worker.work_once()
    process.services.jobs.create(TENANT, JobRequest("text/minilm-l6", queued))
    artefact = process.services.models.get(TENANT, "stays").manifest.digest
    job_pack = process.services.files.get(TENANT, queued).pack
    process.services.files.delete(TENANT, dropped)
    process.services.files.delete(TENANT, queued)
    process.services.models.delete(TENANT, "goes")

    assert sweeper.sweep() == 0, "what is young stays"
    age(settings.blobs)
    age(settings.artefacts)
    file = process.services.files.get(TENANT, kept)
    assert sweeper.sweep() > 0
    assert stored(settings.blobs) == {file.blob, file.pack, job_pack}
    assert stored(settings.artefacts) == {artefact}
    process.close()


def test_storing_bytes_again_saves_them_from_a_sweep(tmp_path: Path) -> None:
    process = process_of(tmp_path)
    settings, sweeper = process.services.settings, Sweeper(process.services.settings, process.services.db)
    process.services.files.delete(TENANT, upload(process, "again"))
    age(settings.blobs)
    before = stored(settings.blobs)
    process.services.files.delete(TENANT, upload(process, "again"))
    assert sweeper.sweep() == 0
    assert stored(settings.blobs) == before
    process.close()


def test_leftovers_of_a_crash_go(tmp_path: Path) -> None:
    process = process_of(tmp_path)
    settings, sweeper = process.services.settings, Sweeper(process.services.settings, process.services.db)
    (settings.work / "ftjob-gone-1").mkdir(parents=True)
    (settings.blobs / "ab").mkdir(parents=True)
    (settings.blobs / "ab" / ".tmp-x").write_bytes(b"half")
    age(settings.work)
    age(settings.blobs)
    assert sweeper.sweep() == 2
    process.close()


def test_a_sweep_bounds_the_cache_of_features(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, lanes=1, max_features_bytes=1 << 20)
    process = build(settings, InlineRunner())
    cache = process.embedder.cache
    for part in range(3):
        cache.put("a" * 64, "top", [f"{part} {i}" for i in range(100)], np.ones((100, 1000), np.float32))
        process.sweeper.sweep()
    assert cached(settings.features) > 1 << 20, "what is young stays"
    age(settings.features)
    process.sweeper.sweep()
    assert cached(settings.features) <= 1 << 20
    process.close()
