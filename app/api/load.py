"""Load: what comes while requests stand still is refused at once, so that those inside end in time.

A queue is judged by how long it makes wait, not by its length, which says nothing without the speed. A tenant
whose ninth-oldest request has been in here for `max_wait` gets no more in until that one is answered; the
eight before it may be requests that take long by themselves. A second line, of all tenants, does the same for
the whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from models.errors import Unavailable

_SLOW_ONES = 8
_SLOW_ONES_OF_ALL = 64


class Load:
    """Requests inside, oldest first. Not thread-safe: the event loop's own."""

    def __init__(self, max_wait: float) -> None:
        self.max_wait = max_wait
        self.refused = 0
        self._all: dict[object, float] = {}
        self._lines: dict[str, dict[object, float]] = {}

    def check(self, tenant: str) -> None:
        """Raises Unavailable while the tenant's requests, or all, stand still."""
        line = self._lines.get(tenant)
        if line is None or not (self._stands(line, _SLOW_ONES) or self._stands(self._all, _SLOW_ONES_OF_ALL)):
            return
        self.refused += 1
        raise Unavailable("The service has more to do than it can; try again shortly.", code="overloaded")

    def _stands(self, line: dict[object, float], slow: int) -> bool:
        if len(line) <= slow:
            return False
        return time.monotonic() - next(islice(line.values(), slow, None)) > self.max_wait

    @contextmanager
    def counted(self, tenant: str) -> Iterator[None]:
        """Holds a place in line for as long as the block runs."""
        place = object()
        line = self._lines.setdefault(tenant, {})
        self._all[place] = line[place] = time.monotonic()
        try:
            yield
        finally:
            del line[place], self._all[place]
            if not line:
                self._lines.pop(tenant, None)
