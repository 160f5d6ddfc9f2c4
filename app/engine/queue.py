"""What waits: bounded for each backbone, tenant and model; ranks by priority, tenants by fair shares.

"Batch what waits, never wait to batch": a lane that is free takes what is there. Inputs are prepared
(decoded, tokenised) by the lanes too, ahead of their batch, so that exact sizes are known when it is cut.
The order of it all is decided in docs/adr/0008.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from app.engine.pool import Pool, Step
from app.engine.shares import Shares
from app.engine.work import Item, Work
from models.errors import InvalidRequest, RateLimited, TooLarge, Unavailable

HIGHEST, DEFAULT, BACKGROUND = 1, 0, -1
"""Priorities: `HIGHEST` goes first of its tenant's, `DEFAULT` next, then 2, 3, ... after those of everybody;
`BACKGROUND` is last, and no client's to ask for."""

_work, _size = attrgetter("work"), attrgetter("size")

_RANKS = 8
_FIRST_OF_TENANT = 1 << 60


@dataclass(frozen=True)
class Limits:
    """The most inputs that wait for one backbone, of one tenant, and for one model. Background work is
    counted apart."""

    backbone: int
    tenant: int
    model: int

    @property
    def request(self) -> int:
        """The most inputs of one request: more could never wait."""
        return min(self.backbone, self.tenant, self.model)


def rank_of(priority: int) -> int:
    """Lower ranks are served first, whoever asks. 0 and 1 share one: a tenant must not get before others."""
    if priority == BACKGROUND:
        return _RANKS - 1
    return 0 if priority <= HIGHEST else min(priority - 1, _RANKS - 2)


class Queue:
    """Thread-safe. Within a rank the tenant that is furthest behind goes first (`shares`), and of a tenant's
    inputs the lowest turn.

    A turn is a virtual time: it moves on with each step, and a request's inputs take one turn a batch's
    worth. So a request of a thousand inputs does not hold up the single ones behind it, nor they it.
    """

    def __init__(self, *, limits: Limits, max_batch: int, gpu_streams: int | None = None) -> None:
        self.limits = limits
        self._gpu_streams = gpu_streams or 1
        self._gpu_free = self._gpu_streams
        self._probed = gpu_streams is not None
        self.max_batch = max_batch
        # By digest: an idle pool must not keep its backbone in memory.
        self._ranks: tuple[dict[str, Pool], ...] = tuple({} for _ in range(_RANKS))
        self._shares = Shares()
        self._waiting: dict[Hashable, int] = {}
        self._changed = threading.Condition()
        self._now = 0
        self._idle = 0
        self.closed = False

    def put(self, work: Work) -> None:
        """Queue a request's inputs.

        Raises InvalidRequest when there are none, TooLarge when they can never fit, RateLimited when they
        do not fit now, Unavailable when closed.
        """
        count = len(work.ask.contents)
        if not count:
            raise InvalidRequest("Send at least one input.", code="no_input", param="input")
        if count > self.limits.request:
            message = f"At most {self.limits.request} inputs a request; split it."
            raise TooLarge(message, code="too_many_inputs")
        with self._changed:
            if self.closed:
                raise Unavailable("The service is shutting down.", code="shutting_down")
            self._admit(work, count)
            self._count(work, count)
            first = self._now - (_FIRST_OF_TENANT if work.ask.priority == HIGHEST else 0)
            items = [Item(work, row, first + row // self.max_batch) for row in range(count)]
            self._pool(work).add(items, ready=False)
            self._changed.notify(count)

    def put_back(self, items: list[Item]) -> None:
        """Queue items that have been prepared; those of requests that are over are forgotten. All are of one
        pool, as they were taken."""
        with self._changed:
            pool = self._pool(items[0].work)
            pool.prepared()
            over = {work for work in set(map(_work, items)) if work.over()}
            left = [item for item in items if item.work not in over] if over else items
            if over:
                self._uncount(item for item in items if item.work in over)
            if left:
                pool.add(left, ready=True)
            self._changed.notify(max(0, len(items) - 1))

    def take(self) -> Step | None:
        """Wait for something to do; None when closed and empty."""
        with self._changed:
            while (pool := self._next()) is None:
                if self.closed and not any(map(len, self._pools())):
                    self._changed.notify_all()  # others may have waited for what is now done
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._now += 1
            step = pool.step(self._idle + 1)
            if not step.prepare:
                self._gpu_free -= pool.on_gpu
                self._uncount(step.items)
            return step

    def ran(self, items: list[Item]) -> None:
        """A batch has left its device, whatever became of it."""
        if items[0].work.trunk.device != "cpu":
            with self._changed:
                self._gpu_free += 1
                if self.closed:
                    self._changed.notify_all()  # there may be nothing left to wait for
                else:
                    self._changed.notify()

    def widen(self, probe: Callable[[], int]) -> None:
        """Let as many batches run on the GPU at a time as `probe` finds; once, where it was not set."""
        with self._changed:
            if self._probed:
                return
            self._probed = True
        more = probe() - self._gpu_streams
        with self._changed:
            self._gpu_streams += more
            self._gpu_free += more
            self._changed.notify(max(0, more))

    @property
    def gpu_streams(self) -> int:
        """Batches that may run on a GPU at a time."""
        return self._gpu_streams

    def learn(self, items: list[Item], ns: int, cpu_ns: int) -> None:
        """From a batch that ran, how long its backbone takes, by the clock and of this thread's CPU."""
        with self._changed:
            size = sum(map(_size, items))
            self._pool(items[0].work).learn(len(items), size, ns, cpu_ns)

    def withdraw(self, work: Work) -> None:
        """Forget what still waits of a request that is over."""
        if work.queued:  # outside the lock: what a lane is preparing is forgotten when it comes back
            with self._changed:
                self._count(work, -self._pool(work).drop(work))

    def close(self) -> None:
        """Refuse new work; what waits is still served."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def waiting(self, *, background: bool) -> int:
        """Inputs that wait."""
        with self._changed:
            return self._waiting.get(background, 0)

    def drop(self) -> list[Work]:
        """Empty the queue; the requests that waited in it."""
        with self._changed:
            works = list(dict.fromkeys(item.work for pool in self._pools() for item in pool.items()))
            for work in works:
                self._count(work, -self._pool(work).drop(work))
        return works

    def _admit(self, work: Work, count: int) -> None:
        counted, waiting, limits = _counted(work), self._waiting, self.limits
        backbone, tenant, model, _ = counted
        if waiting.get(backbone, 0) + count > limits.backbone:
            raise _full("backbone")
        if waiting.get(tenant, 0) + count > limits.tenant:
            raise _full("tenant")
        if waiting.get(model, 0) + count > limits.model:
            raise _full("model")
        work.counted = counted

    def _uncount(self, items: Iterable[Item]) -> None:
        for work, count in Counter(map(_work, items)).items():
            self._count(work, -count)

    def _count(self, work: Work, more: int) -> None:
        work.queued += more
        waiting = self._waiting
        for key in work.counted:
            count = waiting.get(key, 0) + more
            if count:
                waiting[key] = count
            else:
                waiting.pop(key, None)  # it is gone already where a lane took the last before a withdrawal

    def _pool(self, work: Work) -> Pool:
        pools = self._ranks[rank_of(work.ask.priority)]
        pool = pools.get(work.trunk.digest)
        if pool is None:
            pool = pools[work.trunk.digest] = Pool(work.trunk, self.max_batch, self._shares)
        return pool

    def _pools(self) -> Iterator[Pool]:
        return (pool for pools in self._ranks for pool in pools.values())

    def _may_step(self, pool: Pool) -> bool:
        """Lanes prepare at any time, but a GPU runs only so many batches at once: larger ones then."""
        return pool.prepares() or ((not pool.on_gpu or self._gpu_free > 0) and pool.runs())

    def _next(self) -> Pool | None:
        for pools in self._ranks:
            waiting = [pool for pool in pools.values() if len(pool) and self._may_step(pool)]
            if waiting:
                return min(waiting, key=Pool.place) if len(waiting) > 1 else waiting[0]
        return None


def _in_background(work: Work) -> bool:
    return work.ask.priority == BACKGROUND


def _counted(work: Work) -> tuple[Hashable, ...]:
    """What a request's inputs count for: a backbone, a tenant, a model (none where it asks for features),
    and all that is of the background or all that is not."""
    ask, background = work.ask, _in_background(work)
    model = "" if ask.model is None else ask.model.name
    shared = (work.trunk.digest, background), (background, ask.tenant)
    return (*shared, (ask.tenant, model, background), background)


def _full(what: str) -> RateLimited:
    return RateLimited(f"Too many inputs wait for this {what}; try again.", code="queue_full")
