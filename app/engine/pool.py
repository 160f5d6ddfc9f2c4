"""What waits for one backbone at one rank: each tenant's inputs in their order, and the next batch of all."""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from itertools import filterfalse, groupby
from operator import attrgetter
from typing import NamedTuple

from app.engine.shares import Company, Shares
from app.engine.sizes import Sizes
from app.engine.trunks import GPU_BATCH, Trunk
from app.engine.window import choose
from app.engine.work import Item, Work

LOOK_AHEAD = 4
"""Batches' worth of waiting examples that a batch is cut from; more gains little and ages the rest."""

SMALLEST_SHARE = 4
"""Lanes that are free share what waits, but not in pieces below this."""

QUANTUM_MS = {Company.LIGHT: 10.0, Company.BUSY: 30.0}
"""So long a step may take, by what is known of its backbone, while others are about who must not wait for it:
a graph that runs cannot be interrupted. On a CPU a batch of 30 ms is about as fast an input as a longer one,
one of 10 ms slower by a third (docs/adr/0020). A GPU is done with its largest sooner."""

CREW = 4
"""So many lanes at a time prepare inputs that are prepared in this process, such as texts: they all want
Python's lock, and sixteen get less done than four. Pictures and sounds are decoded elsewhere."""

_LEARNING_RATE = 0.1
_NS_PER_MS = 1e6
_LEAST_MS = 1e-6


class Step(NamedTuple):
    """What a lane does next: prepare these items, or run them as one batch."""

    prepare: bool
    items: list[Item]


_turn, _size = attrgetter("turn"), attrgetter("size")
_work, _tenant = attrgetter("work"), attrgetter("work.ask.tenant")


def _insert(queue: list[Item], items: list[Item]) -> None:
    """Put items of ascending turns in their places, which mostly are the last ones."""
    if not queue or queue[-1].turn <= items[0].turn:
        queue.extend(items)
        return
    for turn, group in groupby(items, key=_turn):
        place = bisect_right(queue, turn, key=_turn)
        queue[place:place] = group


@dataclass(slots=True)
class Flow:
    """One tenant's items by turn: `raw` as they came, `ready` prepared."""

    raw: list[Item] = field(default_factory=list)
    ready: list[Item] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.raw) + len(self.ready)

    def first_turn(self) -> int:
        return min(items[0].turn for items in (self.raw, self.ready) if items)


class Pool:
    """Flows by tenant. Not thread-safe."""

    def __init__(self, trunk: Trunk, max_batch: int, shares: Shares) -> None:
        self._flows: dict[str, Flow] = {}
        self._shares = shares
        self.on_gpu = trunk.device != "cpu"
        self._run_cost = trunk.run_cost
        self._padded = not trunk.card.padding_free
        self._max_batch = max_batch * (GPU_BATCH if self.on_gpu else 1)
        self._look = LOOK_AHEAD * self._max_batch if trunk.sizes_differ else 1
        self._ms_a_size = 1.0
        self._sizes = Sizes(SMALLEST_SHARE, self._max_batch)
        self._ms_a_raw = 0.0
        self._crew = sys.maxsize if trunk.card.modality in ("image", "audio") else CREW
        self._preparing = 0

    def __len__(self) -> int:
        return sum(map(len, self._flows.values()))

    def add(self, items: Iterable[Item], *, ready: bool) -> None:
        """Queue items, each in its tenant's order."""
        now = time.monotonic()
        for work, group in groupby(items, key=_work):
            tenant = work.ask.tenant
            if work.ask.priority >= 0:
                self._shares.saw(tenant, now)
            flow = self._flows.get(tenant)
            if flow is None:
                flow = self._flows[tenant] = Flow()
            if ready:
                _insert(flow.ready, [self._prepared(item) for item in group])
            else:
                _insert(flow.raw, list(group))

    def _prepared(self, item: Item) -> Item:
        self._ms_a_raw += _LEARNING_RATE * (item.prepare_ns / _NS_PER_MS - self._ms_a_raw)
        return item

    def drop(self, work: Work) -> int:
        """Forget a request's items; how many there were."""
        flow = self._flows.get(work.ask.tenant)
        if flow is None:
            return 0
        before = len(flow)
        flow.raw = [item for item in flow.raw if item.work is not work]
        flow.ready = [item for item in flow.ready if item.work is not work]
        self._forget_if_empty(work.ask.tenant)
        return before - len(flow)

    def items(self) -> Iterator[Item]:
        """All that waits."""
        return (item for flow in self._flows.values() for item in flow.raw + flow.ready)

    def place(self) -> tuple[float, int]:
        """Where the tenant furthest behind stands, and its first turn: of several pools the least is next."""
        return min((self._shares.place(tenant), flow.first_turn()) for tenant, flow in self._flows.items())

    def step(self, free_lanes: int) -> Step:
        """What a lane does next, of which others are free too."""
        raw, ready = self._counts()
        if self.prepares():
            queues = self._queues(lambda flow: flow.raw if ready < self._look or not flow.ready else ())
            items = self._merged(self._share(raw, free_lanes), queues)
            items = items[: self._quantum(items[0], self._ms_a_raw)]
            self._remove(items, ready=False)
            self._preparing += 1
            return Step(True, items)
        seen = self._merged(LOOK_AHEAD * self._max_batch, self._queues(lambda flow: flow.ready))
        quantum = self._quantum(seen[0], self._ms_a_size * seen[0].size)
        share = self._share(ready, 1 if self.on_gpu else free_lanes)  # idle lanes are no idle GPUs
        limit = min(self._worthwhile(share), quantum)
        rows = choose(list(map(_size, seen)), limit, self._run_cost, padded=self._padded)
        items = [seen[row] for row in rows]
        self._shares.begin(seen[0].work.ask.tenant)
        for tenant, group in groupby(items, key=_tenant):
            self._shares.charge(tenant, *map(self._cost, group))
        self._remove(items, ready=True)
        return Step(False, items)

    def prepares(self) -> bool:
        """Whether the next step is to prepare: while too little is ready to choose from, or a tenant waits of
        whom nothing is, however much is of others; unless lanes enough are at it."""
        raw, ready = self._counts()
        wanted = ready < self._look or any(not flow.ready for flow in self._flows.values())
        return bool(raw) and wanted and self._preparing < self._crew

    def runs(self) -> bool:
        """Whether there is something to run."""
        return any(flow.ready for flow in self._flows.values())

    def prepared(self) -> None:
        """A step that prepares has come to its end."""
        self._preparing -= 1

    def learn(self, count: int, size: int, ns: int, cpu_ns: int) -> None:
        """Learn what a unit of size costs, from a batch of so many inputs; a hitch is no price.

        Which number is fastest is judged by CPU time: that a lane was interrupted is not the batch's doing.
        """
        cost = ns / _NS_PER_MS / max(1, size)
        self._ms_a_size += _LEARNING_RATE * (min(cost, 2 * self._ms_a_size) - self._ms_a_size)
        self._sizes.learn(count, cpu_ns / max(1, size))

    def _counts(self) -> tuple[int, int]:
        raw = ready = 0
        for flow in self._flows.values():
            raw += len(flow.raw)
            ready += len(flow.ready)
        return raw, ready

    def _cost(self, item: Item) -> float:
        return item.prepare_ns / _NS_PER_MS + item.size * self._ms_a_size

    def _queues(self, of: Callable[[Flow], Sequence[Item]]) -> dict[str, Sequence[Item]]:
        return {tenant: items for tenant, flow in self._flows.items() if (items := of(flow))}

    def _merged(self, count: int, queues: Mapping[str, Sequence[Item]]) -> list[Item]:
        """The next items, of whom the tenants' places say, if each paid for what it is given."""
        if len(queues) == 1:
            return list(next(iter(queues.values()))[:count])
        heap = [(self._shares.place(tenant), items[0].turn, tenant, 0) for tenant, items in queues.items()]
        heapify(heap)
        merged: list[Item] = []
        while heap and len(merged) < count:
            place, _, tenant, row = heap[0]
            items = queues[tenant]
            merged.append(items[row])
            if row + 1 < len(items):
                following = place + self._cost(items[row])
                heapreplace(heap, (following, items[row + 1].turn, tenant, row + 1))
            else:
                heappop(heap)
        return merged

    def _remove(self, items: list[Item], *, ready: bool) -> None:
        """Take out items, which are among the first of their tenants'."""
        taken, seen = set(items), LOOK_AHEAD * self._max_batch if ready else len(items)
        for tenant in set(map(_tenant, items)):
            flow = self._flows[tenant]
            queue = flow.ready if ready else flow.raw
            queue[:seen] = filterfalse(taken.__contains__, queue[:seen])
            self._forget_if_empty(tenant)

    def _share(self, waiting: int, free_lanes: int) -> int:
        return min(self._max_batch, max(SMALLEST_SHARE, -(-waiting // free_lanes)))

    def _worthwhile(self, limit: int) -> int:
        """`limit`, or as many as are fastest together; a GPU is fastest with all."""
        return limit if self.on_gpu else min(limit, self._sizes.best(limit))

    def _quantum(self, first: Item, ms: float) -> int:
        """How many inputs like the first one, which take so many milliseconds each, make a step that is short
        enough for who else is about."""
        ask = first.work.ask
        company = self._shares.company(None if ask.priority < 0 else ask.tenant, time.monotonic())
        if company is Company.NONE:
            return self._max_batch
        least = 1 if company is Company.LIGHT else SMALLEST_SHARE
        return max(least, int(QUANTUM_MS[company] / max(ms, _LEAST_MS)))

    def _forget_if_empty(self, tenant: str) -> None:
        if not len(self._flows[tenant]):
            del self._flows[tenant]
