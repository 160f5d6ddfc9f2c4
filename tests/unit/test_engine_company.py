"""Who is about decides how long a step may be; and what a light tenant feels of a heavy one."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future
from heapq import heappop, heappush

import pytest

from app.engine import pool as module
from app.engine.pool import QUANTUM_MS, SMALLEST_SHARE, Pool, Step
from app.engine.queue import BACKGROUND
from app.engine.shares import Company, Shares
from app.engine.stats import Stats
from app.engine.trunks import Trunk
from app.engine.work import Ask, Item, Work
from tests.trunks import FakeTrunk, card

START_MS, SIZE_MS = 1.5, 0.27
"""What MiniLM-L6 takes on a CPU: to start a graph, and a token."""


def trunk() -> Trunk:
    return Trunk(FakeTrunk(card()), Stats(), lambda: None)


def items(of: Trunk, tenant: str, count: int, *, size: int = 1, priority: int = 0) -> list[Item]:
    work = Work(Ask([b"x"] * count, tenant=tenant, priority=priority), of, "top", Future())
    return [Item(work, row, 0, b"x", size) for row in range(count)]


def learnt(ms_a_size: float, shares: Shares) -> Pool:
    pool = Pool(trunk(), 32, shares)
    for count in (4, 8, 16, 32) * 25:  # a little faster the more there are
        ns = int((1 - count / 400) * count * ms_a_size * 1e6)
        pool.learn(count, count, ns, ns)
    return pool


def longest(used: dict[str, float], ms: float = 4.0, *, priority: int = 0) -> int:
    """Inputs of a batch of the first tenant, which has a hundred that take `ms` each, where those in `used`
    have been about and used so much."""
    shares = Shares()
    pool = learnt(ms, shares)
    first, *others = used
    for other in others:
        pool.add(items(trunk(), other, 1), ready=True)
        shares.charge(other, 1e6)  # not its turn
    shares._lately.clear()
    shares._lately.extend(used.items())
    pool.add(items(trunk(), first, 100, priority=priority), ready=True)
    step = pool.step(1)
    assert not step.prepare
    return len(step.items)


def test_a_batch_is_short_while_others_are_about() -> None:
    """A graph that runs cannot be interrupted, so a neighbour would wait for all of it."""
    assert longest({"a": 1.0}) == 32
    assert longest({"a": 50.0, "b": 50.0}) == int(QUANTUM_MS[Company.BUSY] / 4.0)
    assert longest({"a": 50.0, "b": 50.0}, 0.1) == 32
    assert longest({"a": 50.0, "b": 50.0}, 1_000.0) == SMALLEST_SHARE


def test_it_is_shorter_where_someone_asks_for_little() -> None:
    assert longest({"a": 90.0, "b": 10.0}) == int(QUANTUM_MS[Company.LIGHT] / 4.0)
    assert longest({"a": 10.0, "b": 90.0}) == int(QUANTUM_MS[Company.LIGHT] / 4.0)
    assert longest({"a": 90.0, "b": 10.0}, 1_000.0) == 1


def test_the_background_yields_to_whoever_was_about_and_is_no_company() -> None:
    shares = Shares()
    pool = learnt(4.0, shares)
    pool.add(items(trunk(), "a", 100, priority=BACKGROUND), ready=True)
    assert shares.company("b", 0.0) is Company.NONE
    assert len(pool.step(1).items) == 32
    shares.saw("a", module.time.monotonic())
    assert len(pool.step(1).items) == int(QUANTUM_MS[Company.LIGHT] / 4.0)


def test_preparing_is_bounded_as_running_is() -> None:
    shares = Shares()
    pool = learnt(0.01, shares)
    slow = items(trunk(), "a", 100)
    for item in slow:
        item.prepare_ns = 5_000_000
    pool.add(slow, ready=True)
    while len(pool):
        pool.step(1)
    pool.add(items(trunk(), "a", 100), ready=False)
    shares.saw("b", module.time.monotonic())
    step = pool.step(1)
    assert (step.prepare, len(step.items)) == (True, int(QUANTUM_MS[Company.LIGHT] / 5.0))


def test_who_has_nothing_ready_is_prepared_whatever_others_have() -> None:
    shares = Shares()
    pool = learnt(4.0, shares)
    pool.add(items(trunk(), "noisy", 200), ready=True)
    pool.add(items(trunk(), "noisy", 200), ready=False)
    pool.add(items(trunk(), "quiet", 1), ready=False)
    first = pool.step(1)
    assert first.prepare
    assert [item.work.ask.tenant for item in first.items] == ["quiet"]
    pool.add(first.items, ready=True)
    shares.charge("noisy", 1.0)
    second = pool.step(1)
    assert not second.prepare
    assert second.items[0] is first.items[0]


def test_company_is_forgotten_after_a_second() -> None:
    shares = Shares()
    for now in (0.0, 0.5, 5.0):
        shares.saw("a", now)
        assert shares.company("a", now) is Company.NONE
    shares.saw("b", 5.1)
    assert shares.company("a", 5.2) is not Company.NONE
    shares.saw("b", 6.5)
    assert shares.company("b", 6.5) is Company.NONE


def test_tenants_that_all_wait_are_no_light_company() -> None:
    shares = Shares()
    for tenant in ("a", "b"):
        shares.saw(tenant, 0.0)
    for _ in range(400):
        shares.charge(min("ab", key=shares.place), 7.0)
    assert shares.company("a", 0.1) is Company.BUSY
    shares.saw("new", 0.1)
    assert shares.company("a", 0.1) is Company.LIGHT


class Simulation:
    """Two lanes over one backbone by a clock of our own, whose batches take what MiniLM-L6 takes. Thirty-two
    clients of a tenant ask again as soon as they are answered; another tenant's requests come by chance, at a
    tenth of what the lanes can do."""

    def __init__(self, noisy: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.done = 0
        self.latencies: list[float] = []
        self._rng, self._trunk = random.Random(1), trunk()
        self._pool = Pool(self._trunk, 32, Shares())
        self._idle = 2
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        for _ in range(noisy):
            self._ask("noisy")
        self._quiet()

    def run(self, seconds: float) -> None:
        while self.now < seconds:
            self.now, _, event = heappop(self._events)
            event()
            while self._idle and len(self._pool):
                self._idle -= 1
                self._start(self._pool.step(self._idle + 1))

    def p99(self) -> float:
        return sorted(self.latencies)[int(0.99 * len(self.latencies))]

    def _quiet(self) -> None:
        self._ask("quiet")
        self._after(self._rng.expovariate(30.0), self._quiet)

    def _ask(self, tenant: str) -> None:
        size = round(min(60.0, max(5.0, self._rng.lognormvariate(2.9, 0.5))))
        (item,) = items(self._trunk, tenant, 1, size=size)
        item.prepared, item.work.queued_ns = None, int(self.now * 1e9)
        self._pool.add([item], ready=False)

    def _start(self, step: Step) -> None:
        size = sum(item.size for item in step.items)
        ms = 0.1 * len(step.items) if step.prepare else START_MS + SIZE_MS * size
        self._after(ms / 1e3, lambda: self._end(step, size, ms))

    def _end(self, step: Step, size: int, ms: float) -> None:
        self._idle += 1
        if step.prepare:
            self._pool.prepared()
            self._pool.add(step.items, ready=True)
            return
        self._pool.learn(len(step.items), size, int(ms * 1e6), int(ms * 1e6))
        for item in step.items:
            if item.work.ask.tenant == "noisy":
                self.done += 1
                self._ask("noisy")
            else:
                self.latencies.append(self.now - item.work.queued_ns / 1e9)

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heappush(self._events, (self.now + seconds, len(self._events) + self._rng.getrandbits(40), event))


SECONDS = 30.0


def simulated(noisy: int, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    simulation = Simulation(noisy, monkeypatch)
    simulation.run(SECONDS)
    return simulation


def test_a_tenant_that_asks_for_little_hardly_feels_one_that_asks_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, beside = simulated(0, monkeypatch), simulated(32, monkeypatch)
    assert len(beside.latencies) > 800
    assert beside.p99() <= 2 * alone.p99()
    monkeypatch.setitem(QUANTUM_MS, Company.LIGHT, QUANTUM_MS[Company.BUSY])
    long = simulated(32, monkeypatch)
    assert long.p99() > 2 * alone.p99()
    assert beside.done > 0.75 * long.done  # what short batches cost who asks for all
