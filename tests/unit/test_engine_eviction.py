"""Backbones come and go within the budget, and no request notices."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.memory import Memory
from app.engine.trunks import OnnxTrunk
from models.errors import DeadlineExceeded, InvalidInput, InvalidRequest, TooLarge
from models.runtime import CPU, Backbone, expected_bytes
from models.shelf import Shelf
from tests.trunks import POINTS, FakeShelf, FakeTrunk, card, loaded, manifest, signal_backbone

IDS = ("text/a", "text/b", "text/c")
TEXTS = [bytes(random.Random(i).choices(b"abcdefgh ", k=1 + i % 9)) for i in range(20)]
EXPECTED = FakeTrunk(card()).run([np.frombuffer(text, np.uint8) for text in TEXTS], ["top"])["top"]


class Fleet(FakeShelf):
    """Fakes of one byte each, opened anew each time; `alive` has those that somebody still holds."""

    def __init__(self) -> None:
        super().__init__(*(FakeTrunk(card(id), nbytes=1) for id in IDS))
        self.alive: weakref.WeakSet[FakeTrunk] = weakref.WeakSet()
        self.held_up: dict[str, threading.Event] = {}
        self.twice: list[str] = []

    def open(self, path: Path) -> FakeTrunk:
        template = super().open(path)
        if str(path) in self.held_up:
            assert self.held_up[str(path)].wait(10)
        opened = FakeTrunk(template.card, template.nbytes)
        opened.gate, opened.entered = template.gate, template.entered
        self.twice += [id for id in self.loaded() if id == template.card.id]
        self.alive.add(opened)
        return opened

    def loaded(self) -> list[str]:
        return sorted(trunk.card.id for trunk in list(self.alive))

    def opens(self, id: str) -> int:
        return self.opened.count(Path(id))


Make = Callable[..., Engine]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def make(fleet: Fleet) -> Iterator[Make]:
    made: list[Engine] = []

    def make(budget: int, pinned: tuple[str, ...] = (), **options: int) -> Engine:
        memory = Memory(budget)
        options = {"lanes": 2, **options}
        made.append(Engine(fleet, open_trunk=fleet.open, memory=memory, pinned=pinned, **options))
        return made[-1]

    yield make
    for gate in (*fleet.held_up.values(), *(trunk.gate for trunk in fleet.trunks.values())):
        gate.set()
    for engine in made:
        engine.close(timeout=10)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():  # a lane may still be on its way back to the queue
        assert time.monotonic() < end
        time.sleep(0.001)


def ask(engine: Engine, id: str, row: int = 0) -> None:
    np.testing.assert_allclose(engine.embed_sync(id, [TEXTS[row]]), EXPECTED[row : row + 1], atol=1e-5)


def settled(fleet: Fleet, *ids: str) -> None:
    until(lambda: fleet.loaded() == sorted(ids))


@pytest.mark.parametrize("budget", [1, 2])
@pytest.mark.parametrize("pinned", [(), ("text/b",)])
def test_eight_callers_of_three_backbones_get_their_answers(
    make: Make, fleet: Fleet, budget: int, pinned: tuple[str, ...]
) -> None:
    engine = make(budget, pinned)
    model = loaded(manifest(card("text/c")))
    ask(engine, "text/b")
    scores = engine.predict_sync(model, TEXTS).outputs

    def hammer(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(50):
            time.sleep(rng.random() * 0.01)  # or all three would be in flight all the time
            row, id = rng.randrange(len(TEXTS)), rng.choice(IDS)
            ask(engine, id, row)
            if id == "text/c":
                got = engine.predict_sync(model, [TEXTS[row]]).outputs
                np.testing.assert_allclose(got, scores[row : row + 1], atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hammer, range(8)))
    assert fleet.twice == []  # one that is in use is never loaded beside itself
    until(lambda: len(fleet.alive) <= max(budget, 1 + len(pinned)))
    if pinned:
        assert fleet.opens("text/b") == 1
    assert len(fleet.opened) > 5
    assert engine.stats().memory[0].evictions == len(fleet.opened) - len(fleet.alive)
    answered = sum(seen.counters.inferences for seen in engine.stats().backbones)
    assert answered == 8 * 50 + 1 + len(TEXTS) + model.stats.snapshot().success.count - 1


def test_the_least_recently_used_is_unloaded(make: Make, fleet: Fleet) -> None:
    engine = make(2)
    ask(engine, "text/a")
    ask(engine, "text/b")
    ask(engine, "text/a")
    settled(fleet, "text/a", "text/b")
    ask(engine, "text/c")
    settled(fleet, "text/a", "text/c")
    ask(engine, "text/b")
    settled(fleet, "text/b", "text/c")
    assert sorted(engine.loaded()) == ["text/b", "text/c"]


def test_the_pinned_are_loaded_at_the_start_and_stay(
    make: Make, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(1, ("text/a", "text/none"))
    engine.preload_pinned()
    settled(fleet, "text/a")
    assert "the pinned backbone text/none is not installed" in caplog.text
    for id in ("text/b", "text/c", "text/b"):
        ask(engine, id)
    settled(fleet, "text/a", "text/b")
    assert fleet.opens("text/a") == 1


def test_what_is_in_flight_is_not_unloaded(make: Make, fleet: Fleet) -> None:
    """`a` is the oldest, but runs: the idle `b` has to go for `c`."""
    engine = make(2)
    held = fleet.trunks[Path("text/a")]
    held.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(ask, engine, "text/a")
        assert held.entered.acquire(timeout=10)
        ask(engine, "text/b")
        ask(engine, "text/c")
        settled(fleet, "text/a", "text/c")
        again = pool.submit(ask, engine, "text/a", 1)
        held.gate.set()
        slow.result(10)
        again.result(10)
    ask(engine, "text/a")
    assert fleet.opens("text/a") == 1


def test_what_is_in_flight_beyond_the_budget_goes_when_it_is_answered(make: Make, fleet: Fleet) -> None:
    engine = make(1)
    held = fleet.trunks[Path("text/a")]
    held.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(ask, engine, "text/a")
        assert held.entered.acquire(timeout=10)
        ask(engine, "text/b")
        settled(fleet, "text/a", "text/b")
        again = pool.submit(ask, engine, "text/a", 1)
        assert held.entered.acquire(timeout=10)
        held.gate.set()
        slow.result(10)
        again.result(10)
    assert fleet.opens("text/a") == 1
    settled(fleet, "text/b")


def test_a_slow_load_holds_up_no_other_load(make: Make, fleet: Fleet) -> None:
    engine = make(1)
    fleet.held_up["text/a"] = threading.Event()
    pending = engine.preload("text/a")
    for id in ("text/b", "text/c", "text/b"):
        ask(engine, id)
    assert not pending.done()
    fleet.held_up["text/a"].set()
    ask(engine, "text/a")


def test_one_that_is_gone_from_the_disk_is_not_unloaded(make: Make, fleet: Fleet) -> None:
    engine = make(1)
    model = loaded(manifest(card("text/a")))
    engine.predict_sync(model, TEXTS)
    del fleet.trunks[Path("text/a")]
    ask(engine, "text/b")
    ask(engine, "text/c")
    assert engine.predict_sync(model, TEXTS).outputs.shape == (len(TEXTS), 3)
    settled(fleet, "text/a", "text/c")


def test_one_that_is_larger_than_the_budget_is_served_alone(
    make: Make, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.trunks[Path("text/c")].nbytes = 9
    engine = make(2)
    for id in ("text/a", "text/b", "text/c", "text/c"):
        ask(engine, id)
    settled(fleet, "text/c")
    assert fleet.opens("text/c") == 1
    assert "backbone text/c alone is more than the memory budget" in caplog.text
    ask(engine, "text/a")
    settled(fleet, "text/a")


def test_one_that_grows_makes_others_go(make: Make, fleet: Fleet) -> None:
    engine = make(3)
    for id in IDS:
        ask(engine, id)
    (grows,) = (trunk for trunk in fleet.alive if trunk.card.id == "text/c")
    grows.nbytes = 2
    del grows
    ask(engine, "text/c")
    settled(fleet, "text/b", "text/c")


def test_failed_requests_keep_nothing_in_memory(make: Make, fleet: Fleet) -> None:
    engine = make(1, max_queue=3, lanes=1)

    async def fail() -> None:
        with pytest.raises(InvalidInput):
            await engine.embed("text/a", [b"bad"])
        with pytest.raises(DeadlineExceeded):
            await engine.embed("text/a", [b"late"], deadline=time.monotonic() - 1)
        with pytest.raises(InvalidRequest):
            await engine.embed("text/a", [])

    gc.disable()
    try:
        ask(engine, "text/a")
        asyncio.run(fail())
        with pytest.raises(InvalidInput):
            engine.embed_sync("text/a", [b"bad"])
        with pytest.raises(TooLarge):
            engine.embed_sync("text/a", [b"one of many"] * 9)
        ask(engine, "text/b")
        settled(fleet, "text/b")
    finally:
        gc.enable()


def test_counters_outlive_their_backbone(make: Make, fleet: Fleet) -> None:
    engine = make(1)
    for id in ("text/a", "text/b", "text/a", "text/c"):
        ask(engine, id)
    settled(fleet, "text/c")
    counters = {seen.id: seen.counters.inferences for seen in engine.stats().backbones}
    assert counters == {"text/a": 2, "text/b": 1, "text/c": 1}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    for seed, id in enumerate(("signal/one", "signal/two", "signal/three")):
        signal_backbone(tmp_path / id, id, seed)
    return Shelf([tmp_path])


def test_real_graphs_come_back_with_the_same_answers(shelf: Shelf) -> None:
    """The budget holds one of three, so that each request but the repeated ones loads."""
    signals = [np.random.default_rng(i).normal(size=POINTS).astype("<f4").tobytes() for i in range(5)]
    sessions: list[weakref.ref[object]] = []

    def open_trunk(folder: Path) -> OnnxTrunk:
        trunk = OnnxTrunk(folder, CPU)
        sessions.append(weakref.ref(trunk._backbone.session))
        return trunk

    ids = [one.id for one in shelf.list()]
    budget = max(expected_bytes(folder, made) for made, folder in map(shelf.get, ids))
    engine = Engine(shelf, lanes=1, memory=Memory(budget), open_trunk=open_trunk)
    try:
        first = {id: engine.embed_sync(id, signals) for id in ids}
        for id in (*ids, *ids):
            np.testing.assert_array_equal(engine.embed_sync(id, signals), first[id])
        assert len(sessions) == 9
        until(lambda: [session() is None for session in sessions] == [True] * 8 + [False])
        before = engine.stats().memory[0].nbytes
        engine.embed_sync(ids[-1], signals, tap="low")  # one more graph, that ends at this tap
        assert engine.stats().memory[0].nbytes > before
    finally:
        engine.close()


def test_what_a_backbone_will_take_is_known_before_it_is_loaded(shelf: Shelf) -> None:
    made, folder = shelf.get("signal/one")
    assert expected_bytes(folder, made) == pytest.approx(Backbone(folder).nbytes, rel=0.5)
    assert expected_bytes(folder / "none", made) == 0
