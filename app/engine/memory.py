"""What is in memory, within a budget of bytes: the least recently used goes first.

Nobody has to say when he is done with a value. The memory lets go of a victim and looks whether it lives
on: CPython frees an object with its last reference, so what lives on is in use, and is taken back.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Literal, Protocol, TypeVar

Kind = Literal["backbone", "head"]
WORTH_GIVING_BACK = 1024 * 1024
log = logging.getLogger(__name__)


class Resident(Protocol):
    """Something that takes memory, as much as `nbytes` says at the moment."""

    @property
    def nbytes(self) -> int: ...


V = TypeVar("V", bound=Resident)


class Slot(Generic[V]):
    """The place of one thing that can be loaded again.

    `stays` says whether it may not be unloaded now; `name` is for the log, which says nothing without it.
    """

    __slots__ = ("__weakref__", "_memory", "_value", "_weak", "kind", "name", "stays", "used")

    def __init__(self, memory: Memory, kind: Kind, name: str, stays: Callable[[], bool]) -> None:
        self.kind = kind
        self.name = name
        self.stays = stays
        self.used = 0
        self._memory = memory
        self._value: V | None = None
        self._weak: Callable[[], V | None] = _nothing

    def get(self) -> V | None:
        """The value, if it is in memory. Takes no lock. Asking counts as use."""
        self.used = self._memory.tick()
        return self.peek()

    def peek(self) -> V | None:
        """The value, if it is in memory, without using it."""
        value = self._value
        return self._weak() if value is None else value

    def put(self, value: V) -> None:
        """Hold a value that was loaded; others may have to go for it."""
        self.used = self._memory.tick()
        self._weak, self._value = weakref.ref(value), value
        self._memory.filled(self)

    def let_go(self) -> bool:
        """Whether the value is gone. One that is in use stays until its last user is done."""
        self._value = None
        return self._weak() is None

    def take_back(self) -> None:
        """Hold again what was let go but is in use."""
        self._value = self._weak()

    @property
    def leaving(self) -> bool:
        """Whether the value was let go; it may still be in use."""
        return self._value is None

    @property
    def nbytes(self) -> int:
        """What the value takes; 0 when it is not in memory."""
        value = self.peek()
        return 0 if value is None else value.nbytes


@dataclass(frozen=True)
class Use:
    """What is in memory of one kind, and how often something was unloaded to make room."""

    kind: Kind
    loaded: int
    nbytes: int
    evictions: int


class Memory:
    """Slots share `budget` bytes (None: no bound). Thread-safe.

    More than the budget is taken only by what is in use, by what has to stay, and by the last used of each
    kind: a backbone larger than the whole budget is served, alone.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.tick = count(1).__next__
        self._slots: weakref.WeakSet[Slot[Any]] = weakref.WeakSet()
        self._coming: list[tuple[Kind, int]] = []
        self._evictions: Counter[Kind] = Counter()
        self._lock = threading.Lock()

    def slot(self, kind: Kind, name: str = "", stays: Callable[[], bool] = lambda: False) -> Slot[Any]:
        """An empty slot. It is counted while it holds something, and forgotten with its owner."""
        return Slot(self, kind, name, stays)

    def filled(self, slot: Slot[Any]) -> None:
        """Count in what the slot holds, and let others go where it is too much."""
        with self._lock:
            self._slots.add(slot)
        self.trim()

    @contextmanager
    def room(self, kind: Kind, nbytes: int) -> Iterator[None]:
        """Keep so many bytes free for what is being loaded."""
        coming = (kind, nbytes)
        with self._lock:
            self._coming.append(coming)
        try:
            self.trim()
            yield
        finally:
            with self._lock:
                self._coming.remove(coming)

    def trim(self) -> None:
        """Unload until the rest fits, as far as it may be unloaded. To be called when something has grown."""
        if self.budget is None:
            return
        with self._lock:
            freed = self._evict(self.budget)
        if freed >= WORTH_GIVING_BACK:
            give_back()

    def use(self) -> list[Use]:
        """Every kind as it is now."""
        with self._lock:
            sizes: dict[Kind, list[int]] = {"backbone": [], "head": []}
            for slot in self._resident():
                sizes[slot.kind].append(slot.nbytes)
            return [Use(kind, len(s), sum(s), self._evictions[kind]) for kind, s in sizes.items()]

    def _resident(self) -> list[Slot[Any]]:
        """What is in memory, the least recently used first."""
        return sorted((slot for slot in self._slots if slot.peek() is not None), key=_used)

    def _evict(self, budget: int) -> int:
        """Unload what is too much. Gives the bytes freed."""
        slots = self._resident()
        freed, over = 0, sum(slot.nbytes for slot in slots) + sum(n for _, n in self._coming) - budget
        last_used = {slot.kind: slot for slot in slots}
        for kind, _ in self._coming:
            last_used.pop(kind, None)
        in_use: list[Slot[Any]] = []
        for slot in slots:
            if freed >= over:
                break
            if slot.leaving or slot is last_used.get(slot.kind) or slot.stays():
                continue
            size = slot.nbytes
            if slot.let_go():
                freed += size
                self._count(slot)
            else:
                in_use.append(slot)
        for slot in _without_room(in_use, over - freed):
            self._count(slot)
        return freed

    def _count(self, slot: Slot[Any]) -> None:
        self._evictions[slot.kind] += 1
        if slot.name:
            log.info("unloaded %s %s to make room", slot.kind, slot.name)


def _without_room(in_use: list[Slot[Any]], over: int) -> Iterator[Slot[Any]]:
    """Take back the most recent of what is in use, as far as it fits; the rest goes with its last user."""
    spare = sum(slot.nbytes for slot in in_use) - over
    for slot in reversed(in_use):
        if slot.nbytes <= spare:
            spare -= slot.nbytes
            slot.take_back()
        else:
            yield slot


def _used(slot: Slot[Any]) -> int:
    return slot.used


def _nothing() -> None:
    return None


def give_back() -> None:
    """Hand freed memory to the system. glibc would keep it: up to all of a backbone's (docs/adr/0004)."""
    with suppress(OSError, AttributeError):  # another C library has no such call, or needs none
        ctypes.CDLL(None).malloc_trim(0)
