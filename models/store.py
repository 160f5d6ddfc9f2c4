"""Content-addressed files: written beside, fsynced, renamed; a name that exists is complete.

Order of a write: file, fsync(file), rename, fsync(folder), and the same for every folder that had to be made.
A reader therefore sees all of an object or nothing of it, and what was acknowledged survives a crash of the
process. `tests/unit/test_durability.py` checks that order, which is what surviving a loss of power needs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from models.base import sha256
from models.disk import Disk, fsync
from models.errors import CorruptArtefact, NotFound

TEMPORARY = ".tmp-"


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    _fsync_path(folder, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(folder: Path) -> None:
    """Make `folder` and what it lies in, each name durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, atomically and durably."""
    make_folder(path.parent)
    fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    fsync_folder(path.parent)


def publish_folder(source: Path, target: Path) -> None:
    """Rename a complete folder `source` to `target`, durably; a `target` already there stays.

    Both must lie on one file system. Every file in `source` is fsynced first.
    """
    for file in sorted(source.iterdir()):
        _fsync_path(file, os.O_RDONLY)
    fsync_folder(source)
    make_folder(target.parent)
    try:
        os.rename(source, target)
    except OSError:  # a folder that is not empty cannot be renamed onto
        if not target.exists():
            raise
        shutil.rmtree(source)
        os.utime(target)
    fsync_folder(target.parent)


def set_aside(path: Path) -> Path:
    """Take a name away, keeping what it named as a temporary; where that is now."""
    aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent)) / path.name
    os.rename(path, aside)
    return aside


class BlobStore:
    """Immutable blobs by SHA-256 under one folder, two levels deep."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk(root)

    def path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    def local(self, digest: str) -> Path:
        """A file of this machine that holds it."""
        return self.path(digest)

    def put(self, data: bytes) -> str:
        """Store `data`; return its digest. Storing the same bytes twice is one object.

        Raises InsufficientStorage, and Unavailable when the storage failed.
        """
        digest = sha256(data)
        path = self.path(digest)
        with self.disk.writing(len(data)):
            try:
                os.utime(path)  # young again: a sweep leaves it to whoever is about to name it
                fsync_folder(path.parent)  # who wrote it may have died before this
            except FileNotFoundError:
                write_file(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """The verified bytes. Raises NotFound, or CorruptArtefact when they are not what was stored."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound("The stored content is gone.") from None
        if sha256(data) != digest:
            raise CorruptArtefact("Stored content does not match its digest.")
        return data


def verify_files(folder: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """Read the named files of `folder` and check each SHA-256. Raises CorruptArtefact."""
    files: dict[str, bytes] = {}
    for name, digest in digests.items():
        try:
            files[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            raise CorruptArtefact(f"The artefact lacks {name}.") from None
        if sha256(files[name]) != digest:
            raise CorruptArtefact(f"The artefact's {name} does not match its digest.")
    return files


def _fsync_path(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        fsync(fd)
    finally:
        os.close(fd)
