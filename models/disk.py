"""The file system under a data folder: how full it is, and what its errors mean.

After a failed fsync nobody knows which pages reached the disk, and a second fsync may report success for
pages that are gone (PostgreSQL's "fsyncgate", 2018). So the first failure is final: the store refuses every
further write until the process is started anew, while reading goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import DurianError, InsufficientStorage, Unavailable

_REMEMBERED_SECONDS = 10.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FsyncFailed(OSError):
    """Bytes or names that may not be on the disk. Not to be tried again."""


def fsync(fd: int) -> None:
    """Raises FsyncFailed."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise FsyncFailed(error.errno, "fsync failed") from error


def named(error: OSError) -> DurianError:
    """What an error of the file system means to who asked for a write."""
    if error.errno in _FULL:
        return InsufficientStorage("The service's disk is full; nothing was stored.", code="disk_full")
    return Unavailable("The service's storage failed; nothing was stored.", code="storage_failed")


class Disk:
    """`reserve` bytes are left free: the database needs them to record how things end."""

    def __init__(self, folder: Path, reserve: int = 0) -> None:
        self.folder = folder
        self.reserve = reserve
        self.failed = False
        self._full = -_REMEMBERED_SECONDS

    @contextmanager
    def writing(self, nbytes: int = 0) -> Iterator[None]:
        """Around a write. Raises InsufficientStorage `disk_full`, Unavailable `storage_failed`."""
        if self.failed:
            raise named(OSError(errno.EIO, "an earlier fsync failed"))
        if not self.has_room(nbytes):
            raise named(OSError(errno.ENOSPC, "below the reserve"))
        try:
            yield
        except OSError as error:
            self.failed = self.failed or isinstance(error, FsyncFailed)
            if error.errno in _FULL:
                self._full = time.monotonic()
            raise named(error) from error

    def has_room(self, nbytes: int = 0) -> bool:
        """Whether so many more bytes leave the reserve untouched."""
        try:
            return not self.reserve or shutil.disk_usage(self.folder).free >= self.reserve + nbytes
        except FileNotFoundError:
            return True  # the first write makes it

    def broken(self) -> list[str]:
        """`storage_failed` after a failed fsync; `disk_full` for a while after a write found no room."""
        full = time.monotonic() - self._full < _REMEMBERED_SECONDS
        return [*(["disk_full"] if full else []), *(["storage_failed"] if self.failed else [])]

    def degraded(self) -> list[str]:
        """Reasons, for `/v2/health/ready`."""
        return [*([] if self.has_room() else ["disk_full"]), *self.broken()]
