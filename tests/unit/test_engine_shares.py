"""Tenants share, priorities order, and what nobody waits for gives up its place."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest

from app.engine.engine import Engine
from app.engine.model import LoadedModel
from app.engine.pool import Pool
from app.engine.queue import BACKGROUND, Limits, Queue, rank_of
from app.engine.shares import Shares
from app.engine.stats import Stats
from app.engine.trunks import Trunk
from app.engine.work import Ask, Work
from models.errors import DeadlineExceeded, RateLimited, TooLarge
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest

BATCH = 4
TEXT, SIGNAL = card(), card("signal/fake", "signal")


class Scene:
    """One lane over two backbones, the lane held by a request until `go`."""

    def __init__(self, limits: Limits | int = 4096) -> None:
        self.trunk = FakeTrunk(TEXT)
        self.other = FakeTrunk(SIGNAL)
        shelf = FakeShelf(self.trunk, self.other)
        self.engine = Engine(shelf, lanes=1, max_batch=BATCH, max_queue=limits, open_trunk=shelf.open)
        self.tasks: list[asyncio.Task[object]] = []

    def model(self, tenant: str, name: str = "m", backbone: FakeTrunk | None = None) -> LoadedModel:
        made_for = manifest((backbone or self.trunk).card)
        return replace(loaded(made_for), tenant=tenant, name=name)

    def ask(self, model: LoadedModel, *contents: bytes, **options: float) -> asyncio.Task[object]:
        asked = self.engine.predict(model, contents, **options)  # type: ignore[arg-type]
        self.tasks.append(asyncio.create_task(asked))
        return self.tasks[-1]

    async def hold(self) -> None:
        self.trunk.gate.clear()
        self.ask(self.model("held"), b"held")
        await self.until(lambda: bool(self.trunk.batches))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def waiting(self, count: int) -> None:
        await self.until(lambda: self.engine.stats().waiting == count)

    async def go(self) -> list[list[bytes]]:
        """Let everything run; the batches after the held one."""
        self.trunk.gate.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.trunk.batches[1:]


@pytest.fixture
def play() -> Iterator[Callable[..., list[list[bytes]]]]:
    scenes: list[Scene] = []

    def play(act: Callable[[Scene], Awaitable[None]], limits: Limits | int = 4096) -> list[list[bytes]]:
        async def all_of_it() -> list[list[bytes]]:
            scene = Scene(limits)
            scenes.append(scene)
            await scene.engine.embed("text/fake", [b"loads"])
            await scene.engine.embed("signal/fake", [b"loads"])
            scene.trunk.batches.clear()
            await scene.hold()
            await act(scene)
            return await scene.go()

        return asyncio.run(all_of_it())

    yield play
    for scene in scenes:
        scene.trunk.gate.set()
        scene.engine.close(timeout=10)


def place(batches: list[list[bytes]], content: bytes) -> int:
    """How many batches ran before the one with this."""
    return next(i for i, batch in enumerate(batches) if content in batch)


async def flood(scene: Scene) -> None:
    noisy = scene.model("noisy")
    for _ in range(40):
        scene.ask(noisy, *[b"noise"] * 5)
    await scene.waiting(200)
    scene.ask(scene.model("quiet"), b"quiet one")
    await scene.waiting(201)


def test_a_flood_delays_a_neighbour_by_a_batch_or_two(play: Callable[..., list[list[bytes]]]) -> None:
    batches = play(flood)
    assert place(batches, b"quiet one") <= 1
    assert sum(map(len, batches)) == 201


def test_without_shares_it_would_wait_for_all(
    play: Callable[..., list[list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shares, "place", lambda *_: 0.0)
    assert place(play(flood), b"quiet one") > 5


def test_tenants_share_by_cost_and_not_by_count(
    play: Callable[..., list[list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pool, "learn", lambda *_: None)  # a fake's milliseconds are noise

    async def two(scene: Scene) -> None:
        for _ in range(10):
            scene.ask(scene.model("long"), *[b"l" * 80] * 10)
        for _ in range(20):
            scene.ask(scene.model("short"), *[b"s" * 10] * 20)
        await scene.waiting(500)

    batches = play(two)
    cost = Counter[str]()
    for batch in batches[:60]:  # both wait all this time
        for content in batch:
            cost[content[:1].decode()] += len(content)
    assert 0.6 < cost["s"] / cost["l"] < 1.6, cost


def test_who_was_idle_has_no_credit(play: Callable[..., list[list[bytes]]]) -> None:
    async def late(scene: Scene) -> None:
        for _ in range(20):
            scene.ask(scene.model("steady"), *[b"steady"] * 5)
        await scene.waiting(100)
        scene.trunk.batches = Stopping(scene.trunk.gate, 12, scene.trunk.batches)
        scene.trunk.gate.set()
        await scene.until(lambda: len(scene.trunk.batches) == 12)
        left = scene.engine.stats().waiting
        scene.ask(scene.model("late"), *[b"latest"] * 40)
        await scene.waiting(left + 40)

    batches = play(late)
    first = place(batches, b"latest")
    served = Counter(content for batch in batches[first : first + 6] for content in batch)
    assert served[b"steady"] >= 6, served


def test_a_tenant_has_one_share_whatever_the_backbones(play: Callable[..., list[list[bytes]]]) -> None:
    order: list[bytes] = []

    async def spread(scene: Scene) -> None:
        noisy, other = scene.model("noisy"), scene.model("noisy", backbone=scene.other)
        scene.trunk.batches = scene.other.batches = both = Recorder(order, scene.trunk.batches)
        for _ in range(20):
            scene.ask(noisy, *[b"noise"] * 5)
            scene.ask(other, *[b"other"] * 5)
        await scene.waiting(200)
        scene.ask(scene.model("quiet"), b"quiet one")
        await scene.waiting(201)
        assert both

    play(spread)
    assert order.index(b"quiet one") < 3 * BATCH


class Stopping(list[list[bytes]]):
    """Batches; the trunk is held from so many on."""

    def __init__(self, gate: threading.Event, count: int, before: list[list[bytes]]) -> None:
        super().__init__(before)
        self._gate = gate
        self._count = count

    def append(self, batch: list[bytes]) -> None:
        super().append(batch)
        if len(self) == self._count:
            self._gate.clear()


class Recorder(list[list[bytes]]):
    """Batches of two backbones in the order in which they ran."""

    def __init__(self, order: list[bytes], before: list[list[bytes]]) -> None:
        super().__init__(before)
        self.order = order

    def append(self, batch: list[bytes]) -> None:
        super().append(batch)
        self.order += batch


def test_priorities(play: Callable[..., list[list[bytes]]]) -> None:
    async def mixed(scene: Scene) -> None:
        ours, theirs = scene.model("ours"), scene.model("theirs")
        for priority, word in ((3, b"third"), (2, b"later"), (0, b"plain")):
            scene.ask(ours, *[word] * 8, priority=priority)
        await scene.waiting(24)
        scene.ask(ours, *[b"first"] * 20, priority=1)
        scene.ask(theirs, b"their own")
        await scene.waiting(45)

    batches = play(mixed)
    order = [content for batch in batches for content in batch]
    last = {word: len(order) - 1 - order[::-1].index(word) for word in set(order)}
    assert last[b"first"] < order.index(b"plain")
    assert last[b"plain"] < order.index(b"later")
    assert last[b"later"] < order.index(b"third")
    assert place(batches, b"their own") <= 1  # our first priority is nothing to them


def test_each_bound_refuses_and_spares_the_others(play: Callable[..., list[list[bytes]]]) -> None:
    async def fill(scene: Scene) -> None:
        refused: list[str] = []

        async def refusal(model: LoadedModel, count: int) -> None:
            with pytest.raises(RateLimited) as caught:
                await scene.engine.predict(model, [b"more"] * count)
            assert (caught.value.code, caught.value.retry_after) == ("queue_full", 1)
            refused.append(caught.value.message.split("this ")[1].split(";")[0])

        a, b = scene.model("ours", "a"), scene.model("ours", "b")
        scene.ask(a, *[b"a"] * 4)
        await scene.waiting(4)
        await refusal(a, 1)
        scene.ask(b, *[b"b"] * 2)
        await scene.waiting(6)
        await refusal(b, 1)
        scene.ask(scene.model("theirs"), *[b"c"] * 3)
        await scene.waiting(9)
        await refusal(scene.model("third"), 2)
        scene.ask(scene.model("third", backbone=scene.other), b"elsewhere", b"too")
        await scene.waiting(11)
        assert refused == ["model", "tenant", "backbone"]
        with pytest.raises(TooLarge, match="At most 4 inputs"):
            await scene.engine.predict(b, [b"x"] * 5)

    play(fill, Limits(backbone=10, tenant=6, model=4))


def test_what_is_over_gives_up_its_place_at_once(play: Callable[..., list[list[bytes]]]) -> None:
    async def over(scene: Scene) -> None:
        model = scene.model("ours")
        cancelled = scene.ask(model, *[b"cancelled"] * 4)
        await scene.waiting(4)
        cancelled.cancel()
        await scene.waiting(0)
        with pytest.raises(DeadlineExceeded):
            await scene.engine.predict(model, [b"expired"] * 4, deadline=time.monotonic() + 0.02)
        assert scene.engine.stats().waiting == 0
        scene.ask(model, *[b"served"] * 4)
        await scene.waiting(4)

    assert [content for batch in play(over, 4) for content in batch] == [b"served"] * 4


def test_one_bad_input_drops_the_rest_of_its_request(play: Callable[..., list[list[bytes]]]) -> None:
    async def bad(scene: Scene) -> None:
        scene.ask(scene.model("ours"), b"bad", *[b"for nothing"] * 300)
        await scene.waiting(301)

    assert sum(map(len, play(bad))) < 3 * BATCH


def test_a_withdrawal_may_come_just_after_the_lane() -> None:
    trunk = Trunk(FakeTrunk(TEXT), Stats(), lambda: None)
    queue = Queue(limits=Limits(9, 9, 9), max_batch=BATCH)
    work = Work(Ask([b"x"]), trunk, "top", Future())
    queue.put(work)
    prepared = queue.take()
    assert prepared is not None
    queue.put_back(prepared.items)
    assert queue.take() is not None
    work.queued = 1  # as it was read outside the lock, before the lane took it
    queue.withdraw(work)
    assert queue.waiting(background=False) == 0


def test_no_client_asks_for_the_background() -> None:
    ranks = [rank_of(priority) for priority in (1, 0, 2, 3, 7, 8, 99, 10**9)]
    assert ranks == [0, 0, 1, 2, 6, 6, 6, 6]
    assert rank_of(BACKGROUND) > max(ranks)
