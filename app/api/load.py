"""Load: what would wait for too long is refused at once, so that those inside end in time.

A queue is judged by how long it makes wait, not by its length, which says nothing without the speed. That is
read off the gaps between the answers of late: a newcomer waits for as many of them as there are requests
before it. Where nothing is answered at all, the age of those inside tells. Each tenant has a line of its own,
so that one that overloads the service does not keep others out; a second line, of all, bounds the whole by
refusing those that have an equal share of it inside, or more.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import islice

from models.errors import Unavailable

_ALWAYS = 8
"""So many requests of a tenant are let in whatever they take, and of all tenants together:"""
_ALWAYS_OF_ALL = 64

_GAPS = 64
_GAPS_SECONDS = 1.0
"""The speed is read off the gaps of so many seconds, and off so many at least. Batches end in bunches: two of
them are 64 answers at once, of which the gaps alone would say that nobody ever waits."""

_ENOUGH_GAPS = 4


class Line:
    """Requests inside, oldest first, and how fast they leave. `always` of them may be inside in any case."""

    def __init__(self, always: int, max_wait: float) -> None:
        self._always = always
        self._max_wait = max_wait
        self._inside: dict[object, float] = {}
        self._gaps: deque[tuple[float, float]] = deque()
        """When it ended, and its seconds."""
        self._sum = 0.0
        self._left = float("-inf")

    def __len__(self) -> int:
        return len(self._inside)

    def full(self, now: float) -> bool:
        """Whether one more would wait for too long."""
        if len(self._inside) < self._always:
            return False
        return self._wait() > self._max_wait or now - self._entered() > self._max_wait

    def enter(self, place: object, now: float) -> None:
        self._inside[place] = now

    def leave(self, place: object, now: float) -> None:
        # One that took long while it was alone says little of the others, so it counts for no more than this.
        gap = min(now - max(self._left, self._inside.pop(place)), self._max_wait)
        self._gaps.append((now, gap))
        self._sum += gap
        self._left = now
        while len(self._gaps) > _GAPS and now - self._gaps[0][0] > _GAPS_SECONDS:
            self._sum -= self._gaps.popleft()[1]

    def _wait(self) -> float:
        """Seconds until a newcomer would be answered; 0 while the speed is not known."""
        if len(self._gaps) < _ENOUGH_GAPS:
            return 0.0
        return len(self._inside) * self._sum / len(self._gaps)

    def _entered(self) -> float:
        """When the oldest came in of those that are not let in always."""
        return next(islice(self._inside.values(), self._always - 1, None))


@dataclass(slots=True, eq=False)
class Place:
    """One request's, in its tenant's line."""

    line: Line


class Load:
    """The lines of a process. Not thread-safe: the event loop's own."""

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self._all = Line(_ALWAYS_OF_ALL, max_wait)
        self._lines: dict[str, Line] = {}
        self._tenants = 0
        """Those that have something inside."""

    def check(self, tenant: str) -> None:
        """Raises Unavailable where a request of the tenant would wait for too long."""
        line = self._lines.get(tenant)
        if not line:  # who has nothing inside gets in
            return
        now = time.monotonic()
        if line.full(now) or (self._has_its_share(line) and self._all.full(now)):
            raise Unavailable("The service has more to do than it can; try again shortly.", code="overloaded")

    def _has_its_share(self, line: Line) -> bool:
        return len(line) * self._tenants >= len(self._all)

    def enter(self, tenant: str) -> Place:
        """A place in line; to be given back by `leave`."""
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = Line(_ALWAYS, self._max_wait)
        self._tenants += not line
        place, now = Place(line), time.monotonic()
        line.enter(place, now)
        self._all.enter(place, now)
        return place

    def leave(self, place: Place) -> None:
        now = time.monotonic()
        place.line.leave(place, now)
        self._all.leave(place, now)
        self._tenants -= not place.line
