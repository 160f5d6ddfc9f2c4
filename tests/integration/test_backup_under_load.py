"""A backup taken while uploads, jobs and predictions go on: nothing acknowledged before it is missing.

The backup is slowed down so that clients get in between its steps. Three backups that are of no single moment
are seeded, each of which the check must find.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db.tables import Example, File, Job, Model, Version
from app.main import Process, app_of, build
from app.runners.inline import InlineRunner
from app.services import backup as module
from app.services.backup import Backup
from app.settings import Settings
from tests.support import jsonl, signal

INPUT = signal(0, 99)
TURN_SECONDS = 0.05
STEP_SECONDS = 0.02


@dataclass
class Known:
    """What clients were told."""

    files: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    answers: dict[int, Any] = field(default_factory=dict)
    """What each version of the model answered."""

    def copy(self) -> Known:
        return Known(dict(self.files), set(self.deleted), set(self.jobs), set(self.ended), dict(self.answers))


class Load:
    """Two clients in threads: one uploads, submits jobs and deletes; one predicts."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.known = Known()
        self.errors: list[str] = []
        self.acknowledged = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=turn, daemon=True) for turn in (self._write, self._predict)]
        for thread in self._threads:
            thread.start()

    def now(self) -> Known:
        with self._lock:
            return self.known.copy()

    def await_more(self, what: str) -> None:
        """Of one kind of what clients know."""
        before, deadline = len(getattr(self.known, what)), time.monotonic() + 30
        while len(getattr(self.known, what)) == before:
            assert not self.errors
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self.client.request(method, path, **body)
        if answer.status_code != 200:
            self.errors.append(answer.text)
            raise AssertionError(answer.text)
        self.acknowledged += 1
        return answer.json()

    def _write(self) -> None:
        for turn in count():
            if self._stop.is_set():
                return
            self._upload(turn)
            self._look()
            self._stop.wait(TURN_SECONDS)

    def _upload(self, turn: int) -> None:
        rows = jsonl([{"input": signal(i % 2, 100 * turn + i), "label": f"class {i % 2}"} for i in range(8)])
        file = self.ask("POST", "/v1/files", files={"file": ("s.jsonl", rows)}, data={"purpose": "fine-tune"})
        if turn % 3 == 2:
            self.ask("DELETE", f"/v1/files/{file['id']}")
            with self._lock:
                self.known.deleted.add(file["id"])
            return
        with self._lock:
            self.known.files[file["id"]] = rows
        if turn % 3 == 0:
            body = {"model": "signal/raw", "training_file": file["id"], "suffix": "m"}
            body["method"] = {"type": "prototypes"}
            job = self.ask("POST", "/v1/fine_tuning/jobs", json=body)
            with self._lock:
                self.known.jobs.add(job["id"])

    def _look(self) -> None:
        """Which jobs have ended."""
        for job in sorted(self.known.jobs - self.known.ended):
            if self.ask("GET", f"/v1/fine_tuning/jobs/{job}").get("status") == "succeeded":
                with self._lock:
                    self.known.ended.add(job)

    def _predict(self) -> None:
        while not self._stop.wait(TURN_SECONDS):
            if self.known.ended:
                body = self.ask("POST", "/v1/predictions", json={"model": "m", "input": INPUT})
                with self._lock:
                    self.known.answers[body["version"]] = body["data"]


@dataclass
class Served:
    process: Process
    load: Load

    def backup(self, target: Path) -> Known:
        """Written to a file while the load goes on; what was acknowledged before. Again, where it was over
        before the load had got anywhere."""
        for _ in range(20):
            before, acknowledged = self.load.now(), self.load.acknowledged
            with_backup(self.process.services.settings, lambda backup: backup.write(target))
            if self.load.acknowledged - acknowledged > 3:
                return before
            target.unlink()
        raise AssertionError("the load stood still")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    process = build(Settings(data=tmp_path_factory.mktemp("served"), lanes=1), InlineRunner())
    with TestClient(app_of(process, worker=True)) as client:
        load = Load(client)
        load.await_more("answers")
        load.await_more("deleted")
        yield Served(process, load)
        load.stop()
    assert load.errors == []


def with_backup(settings: Settings, use: Callable[[Backup], object]) -> None:
    from app.main import Ground

    ground = Ground.of(settings)
    try:
        use(Backup(ground.db, ground.blobs, ground.artefacts, settings.data, ("pepper", "backbones")))
    finally:
        ground.close()


def restored(archive: Path, folder: Path, known: Known) -> list[str]:
    """What a service on the restored backup lacks."""
    settings = Settings(data=folder, lanes=1)
    with_backup(settings, lambda backup: backup.restore(archive))
    process = build(settings, InlineRunner())
    with TestClient(app_of(process, worker=False)) as client:
        return [*_broken(process), *_missing(client, known)]


def _broken(process: Process) -> Iterator[str]:
    """Rows that do not fit together, and files that rows name and that are not what they were."""
    ground = process.ground
    with ground.db.read() as session:
        files, jobs = session.scalars(select(File)).all(), session.scalars(select(Job)).all()
        versions, models = session.scalars(select(Version)).all(), session.scalars(select(Model)).all()
        packs = set(session.scalars(select(Example.pack)))
    for digest in {file.blob for file in files} | {file.pack for file in files} | packs:
        yield from _failing(f"blob {digest}", lambda digest=digest: ground.blobs.get(digest))
    for version in versions:
        yield from _failing(
            f"artefact {version.artefact}",
            lambda digest=version.artefact: ground.artefacts.load(digest),
        )
    if {job.id for job in jobs if job.status == "succeeded"} != {version.job_id for version in versions}:
        yield "succeeded jobs and versions differ"
    for model in models:
        numbers = {version.version for version in versions if version.model_id == model.id}
        if numbers != set(range(1, model.last_version + 1)):
            yield f"versions {numbers} of {model.last_version}"


def _failing(what: str, use: Callable[[], object]) -> Iterator[str]:
    try:
        use()
    except Exception as error:
        yield f"{what}: {error}"


def _missing(client: TestClient, known: Known) -> Iterator[str]:
    for file, content in known.files.items():
        if client.get(f"/v1/files/{file}/content").content != content:
            yield f"file {file}"
    for file in known.deleted:
        if client.get(f"/v1/files/{file}").status_code != 404:
            yield f"deleted file {file}"
    for job in known.jobs:
        found = client.get(f"/v1/fine_tuning/jobs/{job}")
        if found.status_code != 200 or (job in known.ended and found.json()["status"] != "succeeded"):
            yield f"job {job}"
    for version, data in known.answers.items():
        answer = client.post("/v1/predictions", json={"model": f"m:{version}", "input": INPUT})
        if answer.status_code != 200 or answer.json()["data"] != data:
            yield f"answers of version {version}"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Before each table, and each file, the load may go on."""
    plain, add = module._plain, module._add

    def table(*arguments: Any) -> Any:
        time.sleep(STEP_SECONDS)
        return plain(*arguments)

    def member(*arguments: Any) -> None:
        time.sleep(STEP_SECONDS / 20)
        add(*arguments)

    monkeypatch.setattr(module, "_plain", table)
    monkeypatch.setattr(module, "_add", member)
    return monkeypatch


def test_what_was_acknowledged_before_is_in_it(
    served: Served, slow: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = served.backup(tmp_path / "b.tar")
    assert min(map(len, (known.files, known.deleted, known.jobs, known.ended, known.answers))) > 0
    assert restored(tmp_path / "b.tar", tmp_path / "elsewhere", known) == []


def rows_apart(served: Served, patch: pytest.MonkeyPatch) -> None:
    """Each table is read in a transaction of its own."""
    rows, plain = module._rows, module._plain

    def apart(_: Session, table: Table) -> Any:
        if table.name == "versions":
            served.load.await_more("ended")
        with served.process.ground.db.read() as session:
            return plain(session, table)

    patch.setattr(module, "_plain", apart)
    patch.setattr(module, "_rows", lambda session: rows(_let_go(session)))


def files_first(served: Served, patch: pytest.MonkeyPatch) -> None:
    """Which files go along is decided in a transaction before that of the rows."""
    rows, blobs = module._rows, module._blobs
    decided: list[str] = []

    def early(session: Session) -> Any:
        decided.extend(blobs(rows(session)))
        _let_go(session)
        served.load.await_more("files")
        return rows(session)

    patch.setattr(module, "_rows", early)
    patch.setattr(module, "_blobs", lambda _: decided)


def of_before(served: Served, patch: pytest.MonkeyPatch) -> None:
    """The rows are of a moment that was over when the backup began."""
    with served.process.ground.db.read() as session:
        rows = module._rows(session)
    served.load.await_more("files")
    patch.setattr(module, "_rows", lambda _: rows)


def _let_go(session: Session) -> Session:
    """Its next statement begins another transaction."""
    session.close()
    return session


@pytest.mark.parametrize("mutant", [rows_apart, files_first, of_before], ids=lambda mutant: mutant.__name__)
def test_the_check_finds_a_backup_that_is_not_of_one_moment(
    mutant: Callable[[Served, pytest.MonkeyPatch], None],
    served: Served,
    slow: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    mutant(served, slow)
    known = served.backup(tmp_path / "b.tar")
    try:
        found = restored(tmp_path / "b.tar", tmp_path / "elsewhere", known)
    except Exception as error:  # a restore that the database refuses has found it too
        found = [repr(error)]
    assert found != []
