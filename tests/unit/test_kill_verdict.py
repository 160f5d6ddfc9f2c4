"""The judge of the kill harness finds each kind of damage: without these, 0 violations would mean nothing.

Whole runs with faults seeded into the service itself: `make kill-mutants`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import queue
from app.db.database import Database
from app.db.tables import Dataset, File, Model, Version
from models.base import sha256
from models.store import TEMPORARY, BlobStore
from tests.job_rows import job_row
from tests.kill.load import Acks
from tests.kill.observer import partial
from tests.kill.verdict import verdict

MANIFEST = json.dumps({"files": {"head.onnx": sha256(b"head")}}).encode()
ARTEFACT = sha256(MANIFEST)


class Ended:
    """What a run without a fault leaves: a file, a dataset, a job that published one version."""

    def __init__(self, folder: Path) -> None:
        self.data, self.acks, self.seen = folder / "data", folder / "acks", folder / "seen"
        self.seen.touch()
        self.db = Database(f"sqlite:///{self.data / 'durian.sqlite'}")
        self.db.migrate()
        self.blob = BlobStore(self.data / "blobs").put(b"blob")
        self.artefact = self.data / "artefacts" / ARTEFACT[:2] / ARTEFACT
        self.artefact.mkdir(parents=True)
        (self.artefact / "manifest.json").write_bytes(MANIFEST)
        (self.artefact / "head.onnx").write_bytes(b"head")
        self._rows()
        log = Acks(self.acks)
        for kind, id in (("file", "file-1"), ("dataset", "dataset-1")):
            log.add(kind, id=id)
        log.add("job", id="j", key="k")
        log.add("end", id="j", status="succeeded")

    def _rows(self) -> None:
        file = {"filename": "f", "purpose": "fine-tune", "bytes": 1, "blob": self.blob, "pack": self.blob}
        kind = {"tenant": "default", "created_at": 0.0, "modality": "text", "task": "classification"}
        more = {"grid": None, "examples": 1, "unlabelled": 0, "labels": {}, "warnings": []}
        with self.db.write() as session:
            session.add(File(id="file-1", **kind, **file, **more))
            session.add(Dataset(id="dataset-1", name="d", **kind, grid=None))
            session.add(Model(id="model-1", tenant="default", name="m", created_at=0.0, last_version=1))
            session.add(job_row("j"))
        with self.db.write() as session:
            assert queue.claim(session, "w", 1.0, 15.0) is not None
            self.version("j", 1, session)
            assert queue.finish(session, "j", 1, "succeeded", {"result": {"digest": ARTEFACT}})

    def version(self, job: str, number: int, session: object) -> None:
        row = Version(
            model_id="model-1", version=number, artefact=ARTEFACT, manifest={}, metrics={}, job_id=job,
            created_at=0.0,
        )  # fmt: skip
        session.add(row)  # type: ignore[attr-defined]

    def run(self, *statements: str) -> None:
        with self.db.write() as session:
            for statement in statements:
                session.execute(text(statement))

    def verdict(self) -> list[str]:
        self.db.close()
        return verdict(self.data, self.acks, self.seen)


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    (tmp_path / "data").mkdir()
    return Ended(tmp_path)


def test_a_run_without_a_fault_has_no_violation(ended: Ended) -> None:
    assert ended.verdict() == []


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def second_version(run: Ended) -> None:
    with run.db.write() as session:
        run.version("nobody", 2, session)


def left(name: str) -> Callable[[Ended], None]:
    def leave(run: Ended) -> None:
        (run.data / name).mkdir(parents=True)

    return leave


def end_again(*statuses: str) -> Callable[[Ended], None]:
    """The job takes on these states after its end, which the database would not have let happen."""

    def move(run: Ended) -> None:
        moves = [f"UPDATE jobs SET status = '{status}', error = '{{\"code\": 1}}'" for status in statuses]
        run.run("DROP TRIGGER job_ends_once", *moves)

    return move


DAMAGE: dict[str, tuple[Callable[[Ended], None], str]] = {
    "an upload lost": (lambda run: run.run("DELETE FROM files"), "lost: file"),
    "a dataset lost": (lambda run: run.run("DELETE FROM datasets"), "lost: dataset"),
    "an end lost": (end_again("failed"), "lost: the end"),
    "two ends": (end_again("running", "succeeded"), "ended 2 times"),
    "no end": (end_again("running"), "not ended"),
    "not published": (lambda run: run.run("DELETE FROM versions"), "published 0 times"),
    "published by nobody": (second_version, "published 1 times: nobody"),
    "one key, two jobs": (lambda run: Acks(run.acks).add("job", id="other", key="k"), "doubled"),
    "a torn blob": (lambda run: flip(run.data / "blobs" / run.blob[:2] / run.blob), "partial: blobs"),
    "a torn head": (lambda run: flip(run.artefact / "head.onnx"), "partial: artefacts"),
    "a torn manifest": (lambda run: flip(run.artefact / "manifest.json"), "partial: artefacts"),
    "a head missing": (lambda run: (run.artefact / "head.onnx").unlink(), "partial: artefacts"),
    "an artefact gone": (lambda run: shutil.rmtree(run.artefact), "lost: artefact"),
    "a temporary left": (left(f"blobs/ab/{TEMPORARY}x"), "left over"),
    "a work folder left": (left("work/ftjob-1-1"), "left over"),
    "seen by the observer": (lambda run: run.seen.write_text("blobs/x: torn\n") and None, "partial: blobs/x"),
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_damage_is_found(ended: Ended, fault: str) -> None:
    damage, words = DAMAGE[fault]
    damage(ended)
    assert any(line.startswith(words) for line in ended.verdict())


def test_the_observer_reads_again_what_was_whole(ended: Ended) -> None:
    known: set[Path] = set()
    assert list(partial(ended.data, known)) == []
    assert len(known) == 2
    flip(ended.artefact / "head.onnx")
    known.clear()
    assert len(list(partial(ended.data, known))) == 1
