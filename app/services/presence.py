"""Who else lives on this data folder? A shared lock that every process holds, and the kernel lets go.

The first process to come finds nobody: whatever is temporary or half done there has no owner any more.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from models.store import make_folder

_LOCK = ".lock"


class Presence:
    """`alone` until `settle`, if nobody else was there."""

    def __init__(self, data: Path) -> None:
        make_folder(data)
        self._fd = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        self.alone = self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not self.alone:
            self._lock(fcntl.LOCK_SH)

    def settle(self) -> None:
        """Let others in; until then they wait."""
        if self.alone:
            self.alone = False
            self._lock(fcntl.LOCK_SH)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self, how: int) -> bool:
        try:
            fcntl.flock(self._fd, how)
        except BlockingIOError:
            return False
        return True
