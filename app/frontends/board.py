"""A few words of memory that all processes of a service share.

A change of what is served is told here before the request that made it is answered: a front-end that reads
its neighbours' numbers knows at once, at the price of reading memory, whether its own catalogue is behind.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

_WORDS = struct.Struct("<qqq")
_CHANGE, _BEAT, _RESTARTS = 0, 8, 16
_WORD = struct.Struct("<q")


@dataclass(frozen=True)
class Board:
    """One slot a process, which alone writes it (`restarts` only the supervisor). Slot 0 is the engine's."""

    fd: int
    memory: mmap.mmap
    slots: int
    own: int

    @classmethod
    def make(cls, slots: int) -> Board:
        """A new one, which children inherit by its descriptor."""
        fd = os.memfd_create("durian-board")
        os.ftruncate(fd, slots * _WORDS.size)
        return cls.of(fd, slots, own=0)

    @classmethod
    def of(cls, fd: int, slots: int, own: int) -> Board:
        """The board behind an inherited descriptor, with the slot that this process writes."""
        return cls(fd, mmap.mmap(fd, slots * _WORDS.size), slots, own)

    def tell(self, change: int) -> None:
        """Say that this process has seen the change of this number."""
        self._write(self.own, _CHANGE, change)

    def newest(self) -> int:
        """The number of the newest change that any process has seen."""
        return max(self._read(slot, _CHANGE) for slot in range(self.slots))

    def beat(self) -> None:
        """Say that this process lives."""
        self._write(self.own, _BEAT, time.monotonic_ns())

    def silence(self, slot: int) -> float:
        """Seconds since a process said so; 0 before it first did."""
        beat = self._read(slot, _BEAT)
        return (time.monotonic_ns() - beat) / 1e9 if beat else 0.0

    def restarted(self, slot: int) -> None:
        """Count a restart, and forget the beat of the one that was before."""
        self._write(slot, _BEAT, 0)
        self._write(slot, _RESTARTS, self._read(slot, _RESTARTS) + 1)

    def restarts(self) -> dict[str, int]:
        """How often the engine was started anew, and front-ends."""
        counts = [self._read(slot, _RESTARTS) for slot in range(self.slots)]
        return {"engine": counts[0], "front-end": sum(counts[1:])}

    def _read(self, slot: int, word: int) -> int:
        value: int = _WORD.unpack_from(self.memory, slot * _WORDS.size + word)[0]
        return value

    def _write(self, slot: int, word: int, value: int) -> None:
        _WORD.pack_into(self.memory, slot * _WORDS.size + word, value)
