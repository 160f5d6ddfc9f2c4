"""What is acknowledged is on the disk: the order of system calls, and what a failed one leads to."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.base import sha256
from models.disk import Disk
from models.errors import InsufficientStorage, Unavailable
from models.store import TEMPORARY, BlobStore, publish_folder, set_aside

Trace = list[tuple[str, str]]


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    """Every call that decides on durability, with the path it was for."""
    calls: Trace = []
    fsync, replace, rename, mkdir = os.fsync, os.replace, os.rename, os.mkdir

    def path_of(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")

    def traced(name: str, call: Callable[..., Any], path: Callable[..., str]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            calls.append((name, path(*arguments)))
            return call(*arguments, **options)

        return run

    monkeypatch.setattr(os, "fsync", traced("fsync", fsync, path_of))
    monkeypatch.setattr(os, "replace", traced("rename", replace, lambda a, b: str(b)))
    monkeypatch.setattr(os, "rename", traced("rename", rename, lambda a, b: str(b)))
    monkeypatch.setattr(os, "mkdir", traced("mkdir", mkdir, lambda path, *_: str(path)))
    return calls


def test_a_blob_is_synced_then_named_then_its_name_is_synced(tmp_path: Path, trace: Trace) -> None:
    root = tmp_path / "blobs"
    digest = BlobStore(root).put(b"bytes")
    shard = root / digest[:2]
    kinds = [(kind, path if TEMPORARY not in path else "temporary") for kind, path in trace]
    assert kinds == [
        ("mkdir", str(root)),
        ("fsync", str(tmp_path)),
        ("mkdir", str(shard)),
        ("fsync", str(root)),
        ("fsync", "temporary"),
        ("rename", str(shard / digest)),
        ("fsync", str(shard)),
    ]


def test_a_blob_that_is_there_has_its_name_synced_before_it_is_acknowledged(
    tmp_path: Path, trace: Trace
) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"bytes")
    trace.clear()
    assert store.put(b"bytes") == digest
    assert trace == [("fsync", str(tmp_path / digest[:2]))]


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "a").write_bytes(b"a")
    (path / "b").write_bytes(b"b")
    return path


def test_a_folder_is_synced_file_by_file_before_it_is_named(tmp_path: Path, trace: Trace) -> None:
    source, target = folder(tmp_path / "work"), tmp_path / "kept" / "target"
    target.parent.mkdir()
    trace.clear()
    publish_folder(source, target)
    assert trace == [
        ("fsync", str(source / "a")),
        ("fsync", str(source / "b")),
        ("fsync", str(source)),
        ("rename", str(target)),
        ("fsync", str(target.parent)),
    ]


def test_a_folder_that_is_there_stays_and_its_name_is_synced(tmp_path: Path, trace: Trace) -> None:
    target = folder(tmp_path / "kept" / "target")
    before = (target / "a").stat().st_ino
    publish_folder(folder(tmp_path / "work"), target)
    assert (target / "a").stat().st_ino == before
    assert trace[-1] == ("fsync", str(target.parent))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("which", ["file", "folder"])
def test_a_failed_fsync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    disk = Disk(tmp_path)
    store = BlobStore(tmp_path, disk)
    kept = store.put(b"kept")
    calls, fsync = [], os.fsync

    def broken(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        calls.append(path)
        if (which == "folder") == Path(path).is_dir() and path != str(tmp_path):
            raise OSError(errno.EIO, "injected")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Unavailable) as refused:
        store.put(b"lost")
    assert refused.value.code == "storage_failed"
    assert len(calls) == len(set(calls)), "no fsync is tried again"
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Unavailable):
        store.put(b"lost")  # a second fsync would succeed, for pages that may be gone
    assert disk.degraded() == ["storage_failed"]
    assert store.get(kept) == b"kept"
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = BlobStore(tmp_path)

    def full(fd: int) -> None:
        raise OSError(number, "injected")

    monkeypatch.setattr("models.store.os.fdopen", lambda fd, mode: (os.close(fd), full(fd)))
    with pytest.raises(InsufficientStorage) as refused:
        store.put(b"much")
    assert refused.value.code == "disk_full"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert store.get(store.put(b"much")) == b"much", "room again: it goes on"


def test_the_reserve_is_left_to_the_database(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    disk = Disk(tmp_path, reserve=free + 2**30)
    with pytest.raises(InsufficientStorage):
        BlobStore(tmp_path, disk).put(b"x")
    assert disk.degraded() == ["disk_full"]


def test_what_is_set_aside_keeps_its_bytes_and_loses_its_name(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"x")
    aside = set_aside(path)
    assert not path.exists()
    assert aside.read_bytes() == b"x"
    assert aside.parent.name.startswith(TEMPORARY)


SCRIPT = """
import os, sys
from pathlib import Path
from app.db.database import Database
from app.db.tables import ApiKey
from models.store import BlobStore
data = Path(sys.argv[1])
db = Database(f"sqlite:///{data / 'durian.sqlite'}")
db.migrate()
os.write(2, b"START")
BlobStore(data / "blobs").put(b"bytes")
os.write(2, b"BLOB")
with db.write() as session:
    session.add(ApiKey(id="k", tenant="t", role="admin", secret_hash="", created_at=0.0))
os.write(2, b"ROW")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_kernel_is_asked_in_that_order_and_the_database_syncs_before_it_answers(tmp_path: Path) -> None:
    log = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=fsync,fdatasync,rename,unlink,write"]
    data = tmp_path / "data"
    data.mkdir()
    done = subprocess.run(
        [*command, sys.executable, "-c", SCRIPT, data], capture_output=True, timeout=100, check=False
    )
    if b"PTRACE" in done.stderr:
        pytest.skip("tracing is not allowed here")
    assert done.returncode == 0, done.stderr
    text = log.read_text()
    blob = text[text.index('"START"') : text.index('"BLOB"')]
    digest = sha256(b"bytes")
    steps = [blob.index(f"/{TEMPORARY}"), blob.index(f'/{digest}")'), blob.rindex(f"/blobs/{digest[:2]}>)")]
    assert steps == sorted(steps)
    assert re.search(rf"fsync\(\d+<[^>]*/{re.escape(TEMPORARY)}[^>]*>\) += 0", blob)
    row = text[text.index('"BLOB"') : text.index('"ROW"')]
    assert re.search(r"f(data)?sync\(\d+<[^>]*durian\.sqlite-(journal|wal)>", row)
    assert re.search(r"f(data)?sync\(\d+<[^>]*durian\.sqlite>", row) or "-wal>" in row
