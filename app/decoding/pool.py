"""Children on loan: kept warm, bounded in number, thrown away when they break."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.decoding.limits import Limits
from app.decoding.nursery import Child, Nursery
from models.errors import Unavailable

BUSY_SECONDS = 30.0


class Lost(Exception):
    """The child has ended. `status` is its exit code, negative for a signal, None if unknown."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class Pool:
    """At most `most` children at a time, forked when they are first needed. Thread-safe."""

    def __init__(self, nursery: Nursery, limits: Limits, most: int) -> None:
        self._nursery = nursery
        self._limits = limits
        self._most = most
        self._free = threading.Condition()
        self._idle: list[Child] = []
        self._count = 0
        self._closed = False

    @contextmanager
    def lent(self) -> Iterator[Child]:
        """A child that nobody else speaks to, and that is not lent again where the block says that it leaves.

        Raises Unavailable when none becomes free in half a minute. An EOFError or TimeoutError of the
        block means that the child ended, or has to: it is raised anew as Lost.
        """
        child = self._take()
        well = False
        try:
            yield child
            well = not child.leaves
        except (EOFError, TimeoutError, ConnectionError) as error:
            late = isinstance(error, TimeoutError)
            status = self._nursery.end(child, kill=late)
            raise Lost(None if late else status) from None
        except BaseException:
            self._nursery.end(child, kill=True)
            raise
        else:
            if not well:
                self._nursery.end(child, kill=False)
        finally:
            self._give_back(child if well else None)

    def close(self) -> None:
        """End the idle children; those on loan end when they come back."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            self._count -= len(idle)
        for child in idle:
            self._nursery.end(child, kill=False)

    def _take(self) -> Child:
        with self._free:
            if not self._free.wait_for(lambda: self._idle or self._count < self._most, BUSY_SECONDS):
                raise Unavailable("All decoders are busy; try again soon.", code="decoders_busy")
            child = self._idle.pop() if self._idle else None
            if child is None:
                self._count += 1
        if child is not None and child.channel.silent():
            return child
        try:
            if child is not None:  # it made room for a fresh one, or was ended from outside
                self._nursery.end(child, kill=False)
            return self._nursery.fork(self._limits)
        except BaseException:
            self._give_back(None)
            raise

    def _give_back(self, child: Child | None) -> None:
        with self._free:
            if child is not None and not self._closed:
                self._idle.append(child)
                child = None
            else:
                self._count -= 1
            self._free.notify()
        if child is not None:
            self._nursery.end(child, kill=False)
