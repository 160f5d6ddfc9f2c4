"""Requests that come by the clock, whether those before were answered or not: what overload is.

Written against transports, not streams: at some thousand requests a second a generator that shares the
machine with the service must cost little, or its own delay is taken for the service's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

Address = tuple[str, int]
LOOPBACK = "127.0.0.1"
_GIVE_UP_SECONDS = 10.0
_TICK_SECONDS = 0.002
"""What is due within a tick is sent at its end: a loop that wakes for each request alone never sleeps, and
takes a core from the service."""

_LENGTH = b"content-length: "


@dataclass
class Seen:
    """Seconds from the moment each request was due to the end of its answer, by status; 0 is no answer."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    """Seconds from the moment each was due to its being sent: the generator's own delay."""

    def add(self, status: int, seconds: float) -> None:
        self.latencies.setdefault(status, []).append(seconds)

    def __iadd__(self, other: Seen) -> Seen:
        for status, seconds in other.latencies.items():
            self.latencies.setdefault(status, []).extend(seconds)
        self.late += other.late
        return self

    def count(self, status: int) -> int:
        return len(self.latencies.get(status, ()))

    def p99(self, status: int) -> float:
        """In seconds; 0 where there was none."""
        return quantile(self.latencies.get(status, ()), 0.99)


def quantile(seconds: Sequence[float], share: float) -> float:
    """Within which so large a share of them is; 0 where there are none."""
    found = sorted(seconds) or [0.0]
    return found[min(len(found) - 1, int(share * len(found)))]


class Storm:
    """Requests to one address and what came of them. Connections are kept; one is made where none is free."""

    def __init__(self, address: Address, source: str) -> None:
        self.seen = Seen()
        self.free: list[Connection] = []
        self.busy: set[Connection] = set()
        self._address = address
        self._source = (source, 0)
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, due: float) -> None:
        if self.free:
            self.free.pop().ask(request, due)
        else:
            opening = asyncio.get_running_loop().create_task(self._open(request, due))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes, due: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), *self._address, local_addr=self._source
                )
        except (OSError, TimeoutError):
            self.seen.add(0, time.perf_counter() - due)
        else:
            connection.ask(request, due)

    async def end(self) -> None:
        """Wait for what is under way, and close; what has no answer by then has none."""
        deadline = time.perf_counter() + _GIVE_UP_SECONDS
        while (self._opening or self.busy) and time.perf_counter() < deadline:
            await asyncio.sleep(0.02)
        for connection in [*self.busy, *self.free]:
            connection.transport.abort()
        while self.busy:
            await asyncio.sleep(0.01)


class Connection(asyncio.Protocol):
    """One request at a time; each answer has a length."""

    transport: asyncio.Transport

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._due = 0.0
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, due: float) -> None:
        self._due, self._got = due, b""
        self._storm.busy.add(self)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]):
            self._over(int(head[9:12]))
            if not self.transport.is_closing() and b"connection: close" not in head:
                self._storm.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._storm.busy:
            self._over(0)
        if self in self._storm.free:
            self._storm.free.remove(self)

    def _over(self, status: int) -> None:
        self._storm.busy.discard(self)
        self._storm.seen.add(status, time.perf_counter() - self._due)


async def storm(
    address: Address, requests: Sequence[bytes], rate: float, seconds: float, source: str = LOOPBACK
) -> Seen:
    """Send `rate` requests a second, at random moments, for so long; and wait for what is under way. `source`
    is the address that they come from."""
    storming, rng = Storm(address, source), random.Random(0)
    start = time.perf_counter()
    due, sent = start, 0
    while due - start < seconds:
        due += rng.expovariate(rate)
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(max(pause, _TICK_SECONDS))
        storming.seen.late.append(time.perf_counter() - due)
        storming.send(requests[sent % len(requests)], due)
        sent += 1
        if not sent % 16:
            await asyncio.sleep(0)  # one that is late must still read what has come
    await storming.end()
    return storming.seen


async def beside(
    address: Address, requests: Sequence[bytes], rate: float, seconds: float, probe: bytes, every: float
) -> tuple[Seen, Seen]:
    """A storm, and what a probe sees of the service meanwhile that asks once every so many seconds."""
    return await asyncio.gather(
        storm(address, requests, rate, seconds), storm(address, [probe], 1 / every, seconds)
    )
