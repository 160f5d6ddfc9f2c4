"""The engine at the end of a line: the same answers and errors as beside it, and none lost when it goes."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.heads import DistantHead
from app.engine.model import LoadedModel
from app.frontends import line as line_module
from app.frontends.host import Host
from app.frontends.remote import RemoteEngine, RemoteServing
from app.frontends.sockets import listener
from app.services.catalogue import Catalogue
from app.services.health import Health
from app.services.serving import Serving
from models.errors import DeadlineExceeded, InvalidInput, NotFound, RateLimited, Unavailable
from models.manifest import Manifest
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest

TEXT = card()
MANIFEST = manifest(TEXT)
CONTENTS = [b"where is it", b"my money"]
_numbers = count()


def distant(number: int = 3, made_for: Manifest = MANIFEST) -> LoadedModel:
    return LoadedModel(made_for, number, DistantHead("acme", "colours"))


class Service:
    """An engine behind a host, and a front-end's engine at the end of a line to it."""

    def __init__(self, listening: socket.socket, address: str) -> None:
        self.trunk = FakeTrunk(TEXT)
        shelf = FakeShelf(self.trunk)
        self.engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
        self.catalogue = Catalogue()
        self.model = loaded(MANIFEST, version=3)
        self.catalogue.put_version("acme", "colours", 3, lambda: self.model)
        self.catalogue.set_alias("acme", "colours", "live", 3)
        self.news: Callable[[], None] = lambda: None
        self.remote = RemoteEngine(address)
        self._listening = listening
        self._stop = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    def open(self) -> None:
        registry = SimpleNamespace(catalogue=self.catalogue, refresh=lambda: self.news())
        serving, health = Serving(self.engine, self.catalogue), Health((), ())
        services: Any = SimpleNamespace(registry=registry, serving=serving, health=health)
        process: Any = SimpleNamespace(engine=self.engine, services=services)
        self._stop.clear()
        host = Host(process, self._listening.dup(), lambda: None)
        self._run = asyncio.create_task(host.run(self._stop))

    async def shut(self) -> None:
        """As when the process dies: every connection breaks."""
        self._stop.set()
        assert self._run is not None
        await self._run

    async def up(self) -> None:
        async with asyncio.timeout(5):
            while self.remote.closing:
                await asyncio.sleep(0.005)

    async def down(self) -> None:
        async with asyncio.timeout(5):
            while not self.remote.closing:
                await asyncio.sleep(0.005)


@pytest.fixture
def address() -> Iterator[tuple[socket.socket, str]]:
    name = f"\0durian-test-{os.getpid()}-{next(_numbers)}"
    with listener(name) as listening:
        listening.setblocking(False)
        yield listening, name


@asynccontextmanager
async def serving(address: tuple[socket.socket, str]) -> AsyncIterator[Service]:
    service = Service(*address)
    service.open()
    service.remote.line.start()
    try:
        await service.up()
        yield service
    finally:
        await service.remote.line.close()
        await service.shut()
        service.trunk.gate.set()
        service.engine.close()


def run(address: tuple[socket.socket, str], test: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(address) as service:
            await test(service)

    asyncio.run(main())


def test_answers_are_those_of_the_engine_bit_for_bit(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        here = await service.engine.predict(service.model, CONTENTS, embedding=True, unknown=True)
        there = await service.remote.predict(distant(), CONTENTS, embedding=True, unknown=True)
        assert there.outputs.tobytes() == here.outputs.tobytes()
        assert there.embedding is not None
        assert here.embedding is not None
        assert there.embedding.tobytes() == here.embedding.tobytes()
        assert there.unknown is None
        features = await service.remote.embed(TEXT.id, CONTENTS, tap="low")
        assert np.array_equal(features, await service.engine.embed(TEXT.id, CONTENTS, tap="low"))

    run(address, test)


def test_requests_in_flight_together_each_get_their_own_answer(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        contents = [[bytes([65 + i]) * 3] for i in range(26)]
        alone = [await service.engine.predict(service.model, content) for content in contents]
        together = await asyncio.gather(*(service.remote.predict(distant(), c) for c in contents))
        assert all(np.allclose(a.outputs, b.outputs, atol=1e-6) for a, b in zip(alone, together, strict=True))

    run(address, test)


def test_errors_of_the_engine_are_raised_in_the_front_end(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        with pytest.raises(InvalidInput) as refused:
            await service.remote.predict(distant(), [b"bad"])
        assert refused.value.code == "undecodable"
        with pytest.raises(NotFound):
            await service.remote.embed("text/none", CONTENTS)
        service.trunk.fail = True
        with pytest.raises(Unavailable) as failed:
            await service.remote.predict(distant(), CONTENTS)
        assert failed.value.code == "inference_failed"

    run(address, test)


def test_only_the_version_that_was_meant_answers(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        newer = loaded(manifest(TEXT, classes=4), version=4)
        for absent in (distant(4, newer.manifest), distant(3, newer.manifest)):
            with pytest.raises(NotFound):
                await service.remote.predict(absent, CONTENTS)
        # one that the engine's process has not heard of is found by reading the catalogue anew
        service.news = lambda: service.catalogue.put_version("acme", "colours", 4, lambda: newer)
        answer = await service.remote.predict(distant(4, newer.manifest), CONTENTS)
        assert answer.outputs.shape == (2, 4)

    run(address, test)


def test_what_waits_when_the_engine_dies_fails_and_the_next_engine_answers(
    address: tuple[socket.socket, str],
) -> None:
    async def test(service: Service) -> None:
        service.trunk.gate.clear()
        waiting = asyncio.create_task(service.remote.predict(distant(), CONTENTS))
        await asyncio.to_thread(service.trunk.entered.acquire)
        await service.shut()
        with pytest.raises(Unavailable) as gone:
            await waiting
        assert gone.value.code == "engine_away"
        await service.down()
        with pytest.raises(Unavailable):
            await service.remote.predict(distant(), CONTENTS)
        service.trunk.gate.set()
        service.open()
        await service.up()
        assert len((await service.remote.predict(distant(), CONTENTS)).outputs) == 2

    run(address, test)


def test_who_gives_up_frees_the_engine_of_the_work(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        service.trunk.gate.clear()
        running = asyncio.create_task(service.remote.predict(distant(), [b"first"]))
        await asyncio.to_thread(service.trunk.entered.acquire)
        dropped = asyncio.create_task(service.remote.predict(distant(), [b"dropped"]))
        while not service.engine.stats().waiting:
            await asyncio.sleep(0.005)
        dropped.cancel()
        with pytest.raises(DeadlineExceeded):
            await service.remote.predict(distant(), [b"late"], deadline=time.monotonic() + 0.05)
        await asyncio.sleep(0.05)
        service.trunk.gate.set()
        await running
        await service.remote.predict(distant(), [b"last"])
        assert [b"first"] in service.trunk.batches
        assert not any(b"dropped" in batch or b"late" in batch for batch in service.trunk.batches)

    run(address, test)


def test_an_engine_that_hangs_is_not_given_work_without_end(
    address: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(service: Service) -> None:
        monkeypatch.setattr(line_module, "MAX_IN_FLIGHT", 1)
        service.trunk.gate.clear()
        first = asyncio.create_task(service.remote.predict(distant(), CONTENTS))
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            await service.remote.predict(distant(), CONTENTS)
        service.trunk.gate.set()
        await first

    run(address, test)


def test_counters_and_states_come_from_the_engine(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        catalogue = Catalogue()
        catalogue.put_version("acme", "colours", 3, distant)
        catalogue.set_alias("acme", "colours", "live", 3)
        front = RemoteServing(service.remote, catalogue)
        assert await front.counters("acme", front.models("acme")) == []
        answer = await front.predict("acme", "colours", ["where is it", "my money"])
        assert (answer.version, answer.digest) == (3, service.model.digest)
        ((name, number, counters),) = await front.counters("acme", front.models("acme"))
        assert (name, number, counters.inferences, counters.success.count) == ("colours", 3, 2, 1)
        assert (await front.loaded("acme", "colours"))[1] == counters
        assert await front.counters("other", front.models("acme")) == []
        assert front.health() == {"ready": True, "device": "cpu", "waiting": 0}
        async with asyncio.timeout(5):  # told twice a second
            while not service.remote.stats().backbones:
                await asyncio.sleep(0.01)
        assert service.remote.stats().backbones[0].counters.inferences == 2

    run(address, test)


def test_tenants_and_priorities_reach_the_engine(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        service.trunk.gate.clear()
        asked = [asyncio.create_task(service.remote.predict(distant(), [b"held"]))]
        await asyncio.to_thread(service.trunk.entered.acquire)

        async def ask(count: int, content: bytes, tenant: str, priority: int = 0) -> None:
            before = service.engine.stats().waiting
            embed = service.remote.embed(TEXT.id, [content] * count, tenant=tenant, priority=priority)
            asked.append(asyncio.create_task(embed))
            while service.engine.stats().waiting < before + count:
                await asyncio.sleep(0.002)

        asked.append(asyncio.create_task(service.remote.predict(distant(), [b"last of all"], priority=7)))
        await ask(100, b"yields", "acme", priority=2)
        await ask(200, b"noise", "noisy")
        await ask(1, b"quiet", "quiet")
        service.trunk.gate.set()
        await asyncio.gather(*asked)
        ran = service.trunk.batches[1:]
        assert b"quiet" in ran[0] + ran[1]
        assert all(b"yields" not in batch for batch in ran[:6])
        assert ran[-1][-1] == b"last of all"

    run(address, test)


def test_an_engine_whose_device_is_lost_takes_no_more(address: tuple[socket.socket, str]) -> None:
    async def test(service: Service) -> None:
        await service.remote.predict(distant(), CONTENTS)
        service.engine._canary.dead = True
        with pytest.raises(Unavailable) as refused:
            await service.remote.predict(distant(), CONTENTS)
        assert refused.value.code == "device_lost"
        await service.down()  # by the next status
        with pytest.raises(Unavailable) as away:
            await service.remote.predict(distant(), CONTENTS)
        assert away.value.code == "engine_away"

    run(address, test)
