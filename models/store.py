"""Content-addressed files: written beside, fsynced, renamed; a name that exists is complete.

Order of a write: file, fsync(file), rename, fsync(folder). A reader therefore sees all of an object
or nothing of it, and an object that was acknowledged survives a crash of the process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from models.base import sha256
from models.errors import CorruptArtefact, NotFound

TEMPORARY = ".tmp-"


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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
        fd = os.open(file, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    fsync_folder(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(source)
        os.utime(target)
        return
    os.rename(source, target)
    fsync_folder(target.parent)


class BlobStore:
    """Immutable blobs by SHA-256 under one folder, two levels deep."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    def local(self, digest: str) -> Path:
        """A file of this machine that holds it."""
        return self.path(digest)

    def put(self, data: bytes) -> str:
        """Store `data`; return its digest. Storing the same bytes twice is one object."""
        digest = sha256(data)
        try:
            os.utime(self.path(digest))  # young again: a sweep leaves it to whoever is about to name it
        except FileNotFoundError:
            write_file(self.path(digest), data)
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
