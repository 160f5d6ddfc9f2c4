"""Who waits, who goes first, who is turned away, and who fails alone."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.heads import GraphHead
from app.engine.model import LoadedModel
from app.engine.pool import CREW
from app.engine.queue import BACKGROUND
from models.backbone import BackboneCard
from models.errors import DeadlineExceeded, InvalidInput, RateLimited, TooLarge, Unavailable
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest

Make = Callable[..., Engine]


@pytest.fixture
def trunk() -> FakeTrunk:
    return FakeTrunk(card())


@pytest.fixture
def shelf(trunk: FakeTrunk) -> FakeShelf:
    return FakeShelf(trunk, FakeTrunk(card("signal/fake", "signal")))


@pytest.fixture
def make(shelf: FakeShelf) -> Iterator[Make]:
    made: list[Engine] = []

    def make(**options: int) -> Engine:
        engine = Engine(shelf, open_trunk=shelf.open, **{"lanes": 1, "max_batch": 4, **options})
        made.append(engine)
        return engine

    yield make
    for trunk in shelf.trunks.values():
        trunk.gate.set()
    shelf.gate.set()
    for engine in made:
        engine.close(timeout=10)


@pytest.fixture
def model(trunk: FakeTrunk) -> LoadedModel:
    return loaded(manifest(trunk.card))


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


async def hold(engine: Engine, trunk: FakeTrunk, model: LoadedModel) -> asyncio.Task[object]:
    """Occupy the only lane with one request until the gate opens."""
    trunk.gate.clear()
    task: asyncio.Task[object] = asyncio.create_task(engine.predict(model, [b"held"]))
    await until(lambda: bool(trunk.batches))
    return task


def test_what_waits_runs_as_one_batch(make: Make, trunk: FakeTrunk, model: LoadedModel) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        rest = [asyncio.create_task(engine.predict(model, [b"abc%d" % i])) for i in range(6)]
        await until(lambda: engine.stats().waiting == 6)
        trunk.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(scenario())
    assert [len(batch) for batch in trunk.batches] == [1, 4, 2]
    counters = model.stats.snapshot()
    assert (counters.inferences, counters.executions, counters.success.count) == (7, 3, 7)
    assert {size: c.infer.count for size, c in counters.batches.items()} == {1: 1, 2: 1, 4: 1}
    assert counters.success.ns > counters.queue.ns > 0


def test_batches_are_cut_by_size_and_the_oldest_is_in(
    make: Make, trunk: FakeTrunk, model: LoadedModel
) -> None:
    sizes = [90, 5, 100, 6, 95, 5, 6, 98]

    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        rest = [asyncio.create_task(engine.predict(model, [b"x" * size])) for size in sizes]
        await until(lambda: engine.stats().waiting == len(sizes))
        trunk.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(scenario())
    assert [sorted(map(len, batch)) for batch in trunk.batches[1:]] == [[90, 95, 98, 100], [5, 5, 6, 6]]


def test_serving_goes_before_background(make: Make, trunk: FakeTrunk, model: LoadedModel) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        background = asyncio.create_task(engine.embed("text/fake", [b"background"] * 12, priority=BACKGROUND))
        await until(lambda: engine.stats().waiting_background == 12)
        serving = asyncio.create_task(engine.predict(model, [b"serving"]))
        await until(lambda: engine.stats().waiting == 1)
        trunk.gate.set()
        await asyncio.gather(first, background, serving)

    asyncio.run(scenario())
    assert trunk.batches[:2] == [[b"held"], [b"serving"]]
    assert [content for batch in trunk.batches[2:] for content in batch] == [b"background"] * 12


def test_a_large_request_does_not_hold_up_a_small_one_nor_starve(
    make: Make, trunk: FakeTrunk, model: LoadedModel
) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        large = asyncio.create_task(engine.predict(model, [b"large"] * 40))
        await until(lambda: engine.stats().waiting == 40)
        small = [asyncio.create_task(engine.predict(model, [b"small"])) for _ in range(8)]
        await until(lambda: engine.stats().waiting == 48)
        trunk.gate.set()
        await asyncio.gather(first, large, *small)

    asyncio.run(scenario())
    place = {
        name: [i for i, batch in enumerate(trunk.batches) if name in batch] for name in (b"small", b"large")
    }
    assert max(place[b"small"]) <= 4
    assert min(place[b"large"]) <= 2


def test_a_full_queue_turns_requests_away(make: Make, trunk: FakeTrunk, model: LoadedModel) -> None:
    async def scenario() -> None:
        engine = make(max_queue=5)
        first = await hold(engine, trunk, model)
        waiting = asyncio.create_task(engine.predict(model, [b"a", b"b", b"c", b"d"]))
        await until(lambda: engine.stats().waiting == 4)
        with pytest.raises(RateLimited) as caught:
            await engine.predict(model, [b"e", b"f"])
        assert (caught.value.code, caught.value.retry_after) == ("queue_full", 1)
        with pytest.raises(TooLarge, match="At most 5"):
            await engine.predict(model, [b"x"] * 6)
        trunk.gate.set()
        await asyncio.gather(first, waiting)
        await engine.predict(model, [b"e", b"f"])

    asyncio.run(scenario())
    assert {code: d.count for code, d in model.stats.snapshot().failures.items()} == {
        "queue_full": 1,
        "too_many_inputs": 1,
    }


def test_cancelled_requests_are_not_run(make: Make, trunk: FakeTrunk, model: LoadedModel) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        task = asyncio.create_task(engine.predict(model, [b"cancelled"]))
        kept = asyncio.create_task(engine.predict(model, [b"kept"]))
        await until(lambda: engine.stats().waiting == 2)
        task.cancel()
        await asyncio.sleep(0)
        trunk.gate.set()
        await asyncio.gather(first, kept)
        assert task.cancelled()
        assert engine.stats().waiting == 0

    asyncio.run(scenario())
    assert trunk.batches == [[b"held"], [b"kept"]]


def test_a_request_ends_at_its_deadline_even_while_lanes_hang(
    make: Make, trunk: FakeTrunk, model: LoadedModel
) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await engine.predict(model, [b"late"], deadline=started + 0.05)
        assert 0.05 <= time.monotonic() - started < 5
        trunk.gate.set()
        await first

    asyncio.run(scenario())
    assert trunk.batches == [[b"held"]]
    assert model.stats.snapshot().failures["deadline_exceeded"].count == 1


def test_a_request_ends_at_its_deadline_even_while_its_backbone_loads(
    make: Make, shelf: FakeShelf, model: LoadedModel
) -> None:
    engine = make()
    shelf.gate.clear()

    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded):
            await engine.predict(model, [b"late"], deadline=time.monotonic() + 0.05)

    asyncio.run(scenario())
    shelf.gate.set()
    assert engine.predict_sync(model, [b"in time"]).outputs.shape == (1, 3)


def test_an_input_that_does_not_decode_fails_its_own_request_only(
    make: Make, trunk: FakeTrunk, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[object]:
        engine = make(max_batch=8)
        first = await hold(engine, trunk, model)
        asked = ([b"good one"], [b"fine", b"bad row"], [b"broken row"], [b"another good one"])
        rest = [asyncio.create_task(engine.predict(model, contents)) for contents in asked]
        await until(lambda: engine.stats().waiting == 5)
        trunk.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    with caplog.at_level(logging.CRITICAL, logger="app.engine.trunks"):
        _, good, bad, broken, another = asyncio.run(scenario())
    assert isinstance(bad, InvalidInput)
    assert isinstance(broken, InvalidInput)
    assert (broken.code, broken.message) == ("undecodable", "input 0: the input cannot be decoded.")
    assert not isinstance(good, Exception)
    assert not isinstance(another, Exception)
    assert trunk.batches[1] == [b"good one", b"another good one"]


def test_a_failing_batch_fails_its_requests_and_no_later_ones(
    make: Make, trunk: FakeTrunk, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    trunk.fail = True
    with pytest.raises(Unavailable) as caught:
        engine.predict_sync(model, [b"a"])
    assert caught.value.code == "inference_failed"
    assert "secret" not in caught.value.message
    assert "out of memory" in caplog.text
    trunk.fail = False
    assert engine.predict_sync(model, [b"a"]).outputs.shape == (1, 3)
    assert model.stats.snapshot().failures["inference_failed"].count == 1


def test_a_failing_head_fails_its_own_requests_only(
    make: Make, trunk: FakeTrunk, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = loaded(manifest(trunk.card, tap="low", kind="graph"))
    misfit = LoadedModel(model.manifest, 1, wrong.head)  # wants features of the other tap

    async def scenario() -> list[object]:
        engine = make()
        first = await hold(engine, trunk, model)
        rest = [asyncio.create_task(engine.predict(m, [b"abc"])) for m in (model, misfit)]
        await until(lambda: engine.stats().waiting == 2)
        trunk.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    _, good, failed = asyncio.run(scenario())
    assert not isinstance(good, Exception)
    assert isinstance(failed, Unavailable)
    assert "a head failed" in caplog.text


def test_a_lane_outlives_what_it_did_not_foresee(
    make: Make, trunk: FakeTrunk, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    class Fickle:
        """A head that gives fewer classes the second time."""

        classes = 4

        def run(self, _: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            self.classes -= 1
            return [np.zeros((len(feeds["features"]), self.classes), np.float32)]

    engine = make()
    with pytest.raises(Unavailable):
        engine.predict_sync(LoadedModel(model.manifest, 1, GraphHead(Fickle())), [b"a"] * 8)
    assert "a batch of 4 failed" in caplog.text
    assert engine.predict_sync(model, [b"a", b"bb"]).outputs.shape == (2, 3)


def test_concurrent_first_requests_share_one_load(
    make: Make, shelf: FakeShelf, trunk: FakeTrunk, model: LoadedModel
) -> None:
    engine = make()
    shelf.gate.clear()

    async def scenario() -> None:
        gives_up = asyncio.create_task(engine.predict(model, [b"gives up"]))
        asked = [asyncio.create_task(engine.predict(model, [b"abc"])) for _ in range(5)]
        await until(lambda: bool(shelf.opened))
        gives_up.cancel()
        await asyncio.sleep(0)
        shelf.gate.set()
        await asyncio.gather(*asked)

    asyncio.run(scenario())
    assert len(shelf.opened) == 1
    assert not any(b"gives up" in batch for batch in trunk.batches)


def test_a_failed_load_is_tried_again(
    make: Make, shelf: FakeShelf, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    shelf.fail = True
    with pytest.raises(Unavailable) as caught:
        engine.predict_sync(model, [b"a"])
    assert caught.value.code == "backbone_unavailable"
    assert engine.loaded() == []
    shelf.fail = False
    assert engine.predict_sync(model, [b"a"]).outputs.shape == (1, 3)
    assert "cannot be loaded" in caplog.text


def test_backbones_do_not_wait_for_each_others_load(
    make: Make, shelf: FakeShelf, trunk: FakeTrunk, model: LoadedModel
) -> None:
    engine = make()
    engine.predict_sync(model, [b"loaded before"])
    shelf.gate.clear()
    pending = engine.preload("signal/fake")
    assert engine.predict_sync(model, [b"meanwhile"]).outputs.shape == (1, 3)
    assert not pending.done()
    shelf.gate.set()
    assert pending.result(10).card.id == "signal/fake"


def test_many_threads_and_lanes_never_mix_answers(make: Make, trunk: FakeTrunk) -> None:
    engine = make(lanes=3, max_batch=8)
    models = [loaded(manifest(trunk.card, 2 + i), seed=i) for i in range(6)]
    texts = [b"%d" % i * (1 + i % 9) for i in range(40)]
    expected = {
        (m, t): engine.predict_sync(models[m], [texts[t]]).outputs for m in range(6) for t in range(40)
    }

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            m, rows = int(rng.integers(6)), rng.integers(0, 40, int(rng.integers(1, 12)))
            got = engine.predict_sync(models[m], [texts[row] for row in rows]).outputs
            want = np.concatenate([expected[m, int(row)] for row in rows])
            np.testing.assert_allclose(got, want, atol=1e-5)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(6)))


def test_close_serves_what_waits_and_refuses_the_rest(
    make: Make, trunk: FakeTrunk, model: LoadedModel
) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        waiting = asyncio.create_task(engine.predict(model, [b"waiting"]))
        await until(lambda: engine.stats().waiting == 1)
        closing = threading.Thread(target=engine.close)
        closing.start()
        await until(lambda: engine.closing)
        with pytest.raises(Unavailable) as caught:
            await engine.predict(model, [b"too late"])
        assert caught.value.code == "shutting_down"
        trunk.gate.set()
        await asyncio.gather(first, waiting)
        closing.join()

    asyncio.run(scenario())


def test_close_fails_what_it_cannot_serve_in_time(make: Make, trunk: FakeTrunk, model: LoadedModel) -> None:
    async def scenario() -> None:
        engine = make()
        first = await hold(engine, trunk, model)
        waiting = asyncio.create_task(engine.predict(model, [b"waiting"]))
        await until(lambda: engine.stats().waiting == 1)
        await asyncio.to_thread(engine.close, 0.01)
        with pytest.raises(Unavailable):
            await waiting
        trunk.gate.set()
        await first

    asyncio.run(scenario())


class Preparing(FakeTrunk):
    """Notes how many lanes prepare at a time; `tokens` holds them there."""

    def __init__(self, made: BackboneCard) -> None:
        super().__init__(made)
        self.tokens = threading.Event()
        self.now, self.most = 0, 0
        self._count = threading.Lock()

    def prepare(self, contents, places):
        with self._count:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.tokens.wait(10)
        with self._count:
            self.now -= 1
        return super().prepare(contents, places)


@pytest.mark.parametrize(("modality", "most"), [("text", CREW), ("image", CREW + 3)])
def test_no_more_lanes_than_a_crew_prepare_what_is_prepared_in_this_process(modality, most) -> None:
    made = card(f"{modality}/fake").model_copy(update={"modality": modality})
    trunk = Preparing(made)
    engine = Engine(FakeShelf(trunk), open_trunk=lambda _: trunk, lanes=CREW + 3, max_batch=4)
    model = loaded(manifest(made))
    with ThreadPoolExecutor(41) as pool:
        answers = [pool.submit(engine.predict_sync, model, [b"one"]) for _ in range(40)]
        end = time.monotonic() + 10
        while trunk.now < most:
            assert time.monotonic() < end
        time.sleep(0.05)
        assert trunk.most == most
        trunk.tokens.set()
        assert all(answer.result(10).outputs.shape == (1, 3) for answer in answers)
    started = time.monotonic()
    engine.close(10)
    assert time.monotonic() - started < 5


def test_lanes_that_wait_for_a_crew_end_with_the_engine() -> None:
    trunk = Preparing(card())
    engine = Engine(FakeShelf(trunk), open_trunk=lambda _: trunk, lanes=CREW + 3, max_batch=1)
    model = loaded(manifest(trunk.card))
    with ThreadPoolExecutor(41) as pool:
        answers = [pool.submit(engine.predict_sync, model, [b"one"]) for _ in range(40)]
        while trunk.now < CREW or engine.stats().waiting < 40:  # one that comes after the end is refused
            time.sleep(0.001)
        closing = pool.submit(engine.close, 10)
        while not engine.closing:
            time.sleep(0.001)
        trunk.tokens.set()
        started = time.monotonic()
        closing.result(10)
        assert time.monotonic() - started < 5
        assert all(answer.result(10).outputs.shape == (1, 3) for answer in answers)
