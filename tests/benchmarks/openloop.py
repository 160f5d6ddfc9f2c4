"""Requests that come by the clock, whether those before were answered or not: what overload is."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

Address = tuple[str, int]
_GIVE_UP_SECONDS = 10.0


@dataclass
class Seen:
    """Seconds from the sending of each request to the end of its answer, by status; 0 is no answer."""

    latencies: dict[int, list[float]] = field(default_factory=dict)

    def add(self, status: int, seconds: float) -> None:
        self.latencies.setdefault(status, []).append(seconds)

    def count(self, status: int) -> int:
        return len(self.latencies.get(status, ()))

    def p99(self, status: int) -> float:
        """In seconds; 0 where there was none."""
        found = sorted(self.latencies.get(status, (0.0,)))
        return found[min(len(found) - 1, int(0.99 * len(found)))]


class Connections:
    """Connections that are kept open; one is made where none is free."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def exchange(self, request: bytes) -> int:
        """The status of the answer. Raises OSError, TimeoutError, IncompleteReadError."""
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(*self._address)
        try:
            writer.write(request)
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return int(head[9:12])

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


async def storm(address: Address, requests: Sequence[bytes], rate: float, seconds: float) -> Seen:
    """Send `rate` requests a second, at random moments, for so long; and wait for what is under way."""
    seen, connections, rng = Seen(), Connections(address), random.Random(0)
    tasks: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    at, sent = start, 0
    while at - start < seconds:
        at += rng.expovariate(rate)
        if (pause := at - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(_one(connections, requests[sent % len(requests)], seen))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        sent += 1
    await asyncio.gather(*tasks)
    connections.close()
    return seen


async def _one(connections: Connections, request: bytes, seen: Seen) -> None:
    started = time.perf_counter()
    try:
        status = await connections.exchange(request)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        status = 0
    seen.add(status, time.perf_counter() - started)


async def beside(
    address: Address, requests: Sequence[bytes], rate: float, seconds: float, probe: bytes, every: float
) -> tuple[Seen, Seen]:
    """A storm, and what a probe sees of the service meanwhile that asks once every so many seconds."""
    return await asyncio.gather(
        storm(address, requests, rate, seconds), storm(address, [probe], 1 / every, seconds)
    )
