"""A backup of a running service, restored elsewhere: the same answers, on another database too."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.db.tables import File
from app.main import Ground, Process, build
from app.runners.inline import InlineRunner
from app.services.backup import Backup
from app.services.jobs import JobRequest
from app.settings import Settings
from models.errors import Conflict, InvalidInput
from tests.postgres import needs_postgres, new_database, postgres
from tests.support import jsonl, signal

TENANT = "default"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with a model, a key and a job that waits."""
    process = build(Settings(data=tmp_path_factory.mktemp("served"), lanes=1), InlineRunner())
    process.services.registry.start()
    submit(process)
    assert process.worker.work_once()
    process.services.keys.create("lab", "writer")
    submit(process)
    yield process
    process.close()


def submit(process: Process) -> str:
    rows = [{"input": signal(i % 2, i), "label": f"class {i % 2}"} for i in range(16)]
    file = process.services.files.create(TENANT, "s.jsonl", jsonl(rows), "fine-tune", None, None)
    request = JobRequest("signal/raw", file.id, suffix="m", method="logistic")
    return process.services.jobs.create(TENANT, request).id


@contextmanager
def backup_of(settings: Settings) -> Iterator[Backup]:
    ground = Ground.of(settings)
    yield Backup(ground.db, ground.blobs, ground.artefacts, settings.data, ("pepper", "backbones"))
    ground.db.close()


@pytest.fixture
def archive(served: Process, tmp_path: Path) -> Path:
    path = tmp_path / "durian.tar"
    with backup_of(served.services.settings) as backup:
        told = backup.write(path)
    assert told["models"] == 1
    assert path.stat().st_mode & 0o777 == 0o600
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    data = tmp_path / "elsewhere"
    if request.param == "sqlite":
        yield Settings(data=data, lanes=1)
        return
    with postgres() as (server, _):
        yield Settings(data=data, lanes=1, database=new_database(server))


def test_what_was_served_is_served_again(served: Process, archive: Path, elsewhere: Settings) -> None:
    with backup_of(elsewhere) as backup:
        backup.restore(archive)
    process = build(elsewhere, InlineRunner())
    process.services.registry.start()
    try:
        before = served.services.serving.catalogue.resolve(TENANT, "m")
        after = process.services.serving.catalogue.resolve(TENANT, "m")
        assert (after.digest, after.version) == (before.digest, before.version)
        assert [key.id for key in process.services.keys.list()] == [
            key.id for key in served.services.keys.list()
        ]
        assert process.worker.work_once()  # the job that waited
        submit(process)  # and a new one gets a number of its own
        assert process.worker.work_once()
        assert [v.version for v in process.services.models.versions(TENANT, "m")] == [3, 2, 1]
    finally:
        process.close()


def test_nothing_is_overwritten(served: Process, archive: Path) -> None:
    with backup_of(served.services.settings) as backup:
        with pytest.raises(Conflict, match="already"):
            backup.write(archive)
        with pytest.raises(Conflict, match="not empty"):
            backup.restore(archive)


def test_a_damaged_backup_is_refused_and_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        place = next(member for member in tar if member.name.startswith("blobs/")).offset_data
    data = bytearray(archive.read_bytes())
    data[place] ^= 0xFF
    archive.write_bytes(data)
    with backup_of(Settings(data=tmp_path / "new")) as backup:
        with pytest.raises(InvalidInput, match="damaged"):
            backup.restore(archive)
        with pytest.raises(InvalidInput, match="no backup"):
            backup.restore(Path(__file__))
        with backup.db.read() as session:
            assert session.query(File).count() == 0


def test_a_name_from_the_root_is_one_below_the_data_folder(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive, "a") as tar:
        tar.addfile(tarfile.TarInfo(f"data/{tmp_path}/evil"))
    data = tmp_path / "new"
    with backup_of(Settings(data=data)) as backup:
        build(Settings(data=data, lanes=1), InlineRunner()).close()
        backup.restore(archive)
    assert not (tmp_path / "evil").exists()
    assert data.joinpath(*tmp_path.parts[1:], "evil").exists()


def hostile(kind: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo({"above": "data/../../evil"}.get(kind, "data/pepper"))
    member.type = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.FIFOTYPE}.get(
        kind, tarfile.REGTYPE
    )
    member.linkname = "../../evil"
    return member


@pytest.mark.parametrize("kind", ["above", "link", "hard link", "device"])
def test_a_backup_writes_below_the_data_folder_and_nowhere_else(
    archive: Path, tmp_path: Path, kind: str
) -> None:
    with tarfile.open(archive, "a") as tar:
        tar.addfile(hostile(kind))
    data = tmp_path / "some" / "new"
    with (
        backup_of(Settings(data=data)) as backup,
        pytest.raises(InvalidInput, match=r"damaged: data/") as refused,
    ):
        backup.restore(archive)
    assert refused.value.code == "bad_backup"
    assert not (tmp_path / "evil").exists()
    assert not (data / "pepper").is_symlink()
    assert not (data / "pepper").is_fifo()


def test_what_lies_in_the_data_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    """Keys stay secret, and a backbone that lives elsewhere and is linked comes along."""
    old, new = Settings(data=tmp_path / "old", lanes=1), Settings(data=tmp_path / "new", lanes=1)
    linked = tmp_path / "large disk"
    (old.backbones / "onnx").mkdir(parents=True)
    linked.mkdir()
    (linked / "card.json").write_text("{}")
    (old.backbones / "onnx" / "mine").symlink_to(linked)
    with backup_of(old) as backup:
        (old.data / "pepper").write_bytes(b"secret")
        (old.data / "pepper").chmod(0o600)
        build(old, InlineRunner()).close()
        backup.write(tmp_path / "b.tar")
    build(new, InlineRunner()).close()
    with backup_of(new) as backup:
        backup.restore(tmp_path / "b.tar")
    assert (new.data / "pepper").read_bytes() == b"secret"
    assert (new.data / "pepper").stat().st_mode & 0o777 == 0o600
    assert (new.backbones / "onnx" / "mine" / "card.json").read_text() == "{}"
    assert not (new.backbones / "onnx" / "mine").is_symlink()


def test_a_file_that_is_swept_meanwhile_costs_another_try(
    served: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = jsonl([{"input": "gone", "label": "a"}])
    file = served.services.files.create(TENANT, "g.jsonl", rows, "fine-tune", None, None)
    with backup_of(served.services.settings) as backup:
        _swept_while_read(backup, served, file.id, file.blob, monkeypatch)
        backup.write(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert f"blobs/{file.blob}" not in tar.getnames()


def _swept_while_read(
    backup: Backup, served: Process, file: str, blob: str, patch: pytest.MonkeyPatch
) -> None:
    real = backup.blobs.get

    def get(digest: str) -> bytes:
        if digest == blob:
            served.services.files.delete(TENANT, file)
            backup.blobs.path(digest).unlink()
            patch.setattr(backup.blobs, "get", real)
        return real(digest)

    patch.setattr(backup.blobs, "get", get)
