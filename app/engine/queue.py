"""What waits: bounded, two priorities, one pool a backbone.

"Batch what waits, never wait to batch": a lane that is free takes what is there. Inputs are prepared
(decoded, tokenised) by the lanes too, ahead of their batch, so that exact sizes are known when it is cut.
"""

from __future__ import annotations

import threading
from bisect import insort
from typing import NamedTuple

from app.engine.trunks import Trunk
from app.engine.window import choose
from app.engine.work import Item, Work
from models.errors import InvalidRequest, RateLimited, TooLarge, Unavailable

LOOK_AHEAD = 4
"""Batches' worth of waiting examples that a batch is cut from; more gains little and ages the rest."""

SMALLEST_SHARE = 4
"""Lanes that are free share what waits, but not in pieces below this."""


class Step(NamedTuple):
    """What a lane does next: prepare these items, or run them as one batch."""

    prepare: bool
    items: list[Item]


def _turn(item: Item) -> int:
    return item.turn


class Pool:
    """Items of one backbone and priority, by turn: `raw` as they came, `ready` prepared."""

    def __init__(self, trunk: Trunk, max_batch: int) -> None:
        self.raw: list[Item] = []
        self.ready: list[Item] = []
        self._run_cost = trunk.run_cost
        self._padded = not trunk.card.padding_free
        self._max_batch = max_batch
        self._look = LOOK_AHEAD * max_batch if trunk.sizes_differ else 1

    def __len__(self) -> int:
        return len(self.raw) + len(self.ready)

    def first_turn(self) -> int:
        return min(items[0].turn for items in (self.raw, self.ready) if items)

    def step(self, free_lanes: int) -> Step:
        """Preparing comes first while too little is ready to choose a batch from."""
        if self.raw and len(self.ready) < self._look:
            share = self._share(len(self.raw), free_lanes)
            items, self.raw = self.raw[:share], self.raw[share:]
            return Step(True, items)
        seen = self.ready[: LOOK_AHEAD * self._max_batch]
        limit = self._share(len(self.ready), free_lanes)
        rows = choose([item.size for item in seen], limit, self._run_cost, padded=self._padded)
        taken = set(rows)
        self.ready[: len(seen)] = [item for row, item in enumerate(seen) if row not in taken]
        return Step(False, [seen[row] for row in rows])

    def _share(self, waiting: int, free_lanes: int) -> int:
        return min(self._max_batch, max(SMALLEST_SHARE, -(-waiting // free_lanes)))


class Queue:
    """Thread-safe. Items are served by turn; serving goes before background.

    A turn is a virtual time: it moves on with each batch, and a request's inputs take one turn a batch's
    worth. So a request of a thousand inputs does not hold up the single ones behind it, nor they it
    (start-time fair queueing, Goyal, Vin and Cheng 1996).
    """

    def __init__(self, *, max_items: int, max_batch: int) -> None:
        self.max_items = max_items
        self.max_batch = max_batch
        # By digest: an idle pool must not keep its backbone in memory.
        self._pools: tuple[dict[str, Pool], dict[str, Pool]] = ({}, {})
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
        if count > self.max_items:
            raise TooLarge(f"At most {self.max_items} inputs a request; split it.", code="too_many_inputs")
        with self._changed:
            if self.closed:
                raise Unavailable("The service is shutting down.", code="shutting_down")
            pools = self._pools[work.ask.background]
            pool = pools.get(work.trunk.digest)
            if pool is None:
                pool = pools[work.trunk.digest] = Pool(work.trunk, self.max_batch)
            if len(pool) + count > self.max_items:
                raise RateLimited("Too many inputs wait for this backbone; try again.", code="queue_full")
            for row in range(count):
                insort(pool.raw, Item(work, row, self._now + row // self.max_batch), key=_turn)
            self._changed.notify(count)

    def put_back(self, items: list[Item]) -> None:
        """Queue items that have been prepared."""
        if not items:
            return
        with self._changed:
            pool = self._pools[items[0].work.ask.background][items[0].work.trunk.digest]
            for item in items:
                insort(pool.ready, item, key=_turn)
            self._changed.notify(len(items) - 1)

    def take(self) -> Step | None:
        """Wait for something to do; None when closed and empty."""
        with self._changed:
            while (pool := self._next()) is None:
                if self.closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._now = max(self._now, pool.first_turn()) + 1
            return pool.step(self._idle + 1)

    def close(self) -> None:
        """Refuse new work; what waits is still served."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def waiting(self, *, background: bool) -> int:
        """Inputs that wait."""
        with self._changed:
            return sum(map(len, self._pools[background].values()))

    def drop(self) -> list[Work]:
        """Empty the queue; the requests that waited in it."""
        with self._changed:
            pools = [pool for pools in self._pools for pool in pools.values()]
            items = [item for pool in pools for item in pool.raw + pool.ready]
            for pool in pools:
                pool.raw, pool.ready = [], []
        return list(dict.fromkeys(item.work for item in items))

    def _next(self) -> Pool | None:
        for pools in self._pools:
            waiting = [pool for pool in pools.values() if len(pool)]
            if waiting:
                return min(waiting, key=Pool.first_turn)
        return None
