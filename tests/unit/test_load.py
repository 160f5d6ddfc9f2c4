"""Refusing under load, on a simulated service of one server and a clock of our own."""

from __future__ import annotations

import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from app.api import load as module
from app.api.load import Load, Place
from models.errors import Unavailable

SECONDS_EACH = 0.01
"""What the server takes for a request: it can do 100 a second."""

REFUSAL = 0.0002
SECONDS = 15.0


@dataclass
class Simulation:
    """Requests come by chance at `factor` times what the server can do; it takes them in their order."""

    load: Load
    factor: float
    now: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    _inside: deque[tuple[float, float, Place]] = field(default_factory=deque)
    _free: float = 0.0

    def run(self, tenant: str = "t") -> None:
        rng = random.Random(1)
        at = 0.0
        while at < SECONDS:
            at += rng.expovariate(self.factor / SECONDS_EACH)
            self._leave(at)
            self.now = at
            try:
                self.load.check(tenant)
            except Unavailable:
                self.refused += 1
                self._free = max(self._free, at) + REFUSAL
                continue
            place = self.load.enter(tenant)
            self._free = max(self._free, at) + SECONDS_EACH
            self._inside.append((at, self._free, place))
        self._leave(self._free)

    def _leave(self, until: float) -> None:
        while self._inside and self._inside[0][1] <= until:
            came, self.now, place = self._inside.popleft()
            self.load.leave(place)
            self.latencies.append(self.now - came)

    @property
    def goodput(self) -> float:
        """Answers within half a second, as a share of what the server can do."""
        return sum(latency <= 0.5 for latency in self.latencies) * SECONDS_EACH / SECONDS

    def p99(self) -> float:
        return sorted(self.latencies)[int(0.99 * len(self.latencies))]


def simulated(monkeypatch: pytest.MonkeyPatch, load: Load, factor: float) -> Simulation:
    simulation = Simulation(load, factor)
    monkeypatch.setattr(module.time, "monotonic", lambda: simulation.now)
    simulation.run()
    return simulation


@pytest.mark.parametrize(("factor", "goodput"), [(3.0, 0.7), (10.0, 0.5)])
def test_under_overload_what_is_let_in_is_answered_in_time(
    monkeypatch: pytest.MonkeyPatch, factor: float, goodput: float
) -> None:
    simulation = simulated(monkeypatch, Load(0.3), factor)
    assert simulation.goodput >= goodput
    assert simulation.p99() <= 0.5
    assert simulation.refused > 0.5 * SECONDS / SECONDS_EACH


def test_answers_in_bunches_do_not_say_that_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lanes that end their batches together give 70 answers at once, and then none for 0.25 s."""
    now, bunch, period, left = [0.0], 70, 0.25, 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    load, inside, most = Load(0.3), deque[Place](), 0
    for _ in range(10_000):
        now[0] += 0.001
        if now[0] - left > period:
            left = now[0]
            for _ in range(min(bunch, len(inside))):
                load.leave(inside.popleft())
        with suppress(Unavailable):
            load.check("t")
            inside.append(load.enter("t"))
        most = max(most, len(inside) if now[0] > 2 else 0)
    assert 70 <= most <= 1.5 * 0.3 * bunch / period


def test_without_it_nothing_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulated(monkeypatch, Load(1e9), 3.0)
    assert simulation.p99() > 5
    assert simulation.goodput < 0.2


def test_what_the_service_can_do_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulated(monkeypatch, Load(0.3), 0.8)
    assert simulation.refused == 0
    assert simulation.goodput > 0.75


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def enter(load: Load, tenant: str, count: int) -> list[Place]:
    return [load.enter(tenant) for _ in range(count)]


def test_a_burst_is_let_in_and_a_few_long_ones_stop_nobody(clock: list[float]) -> None:
    load = Load(0.3)
    enter(load, "t", 7)
    clock[0] = 10.0
    for _ in range(300):
        load.check("t")
        enter(load, "t", 1)
    clock[0] = 10.4
    with pytest.raises(Unavailable) as refused:
        load.check("t")
    assert refused.value.code == "overloaded"


def test_a_tenant_that_overloads_does_not_keep_another_out(clock: list[float]) -> None:
    load = Load(0.3)
    places = enter(load, "noisy", 50)
    enter(load, "quiet", 1)
    clock[0] = 1.0
    with pytest.raises(Unavailable):
        load.check("noisy")
    load.check("quiet")
    for place in places:
        load.leave(place)
    load.check("noisy")


def test_who_has_little_inside_does_not_pay_for_who_has_much(clock: list[float]) -> None:
    load = Load(0.3)
    enter(load, "noisy", 100)
    quiet = enter(load, "quiet", 3)
    clock[0] = 1.0
    load.check("quiet")
    with pytest.raises(Unavailable):
        load.check("noisy")
    for place in quiet:
        load.leave(place)
    with pytest.raises(Unavailable):
        load.check("noisy")


def test_many_tenants_together_are_bounded_too(clock: list[float]) -> None:
    load = Load(0.3)
    for i in range(20):
        enter(load, f"tenant {i}", 7)
    clock[0] = 1.0
    with pytest.raises(Unavailable):
        load.check("tenant 3")
    load.check("a new one")  # who has nothing inside gets in
