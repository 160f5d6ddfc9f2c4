"""A GPU that no longer computes is found out, and one that does is left in peace. With a fake GPU."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from app.engine import lanes as lanes_module
from app.engine import providers as providers_module
from app.engine import streams as streams_module
from app.engine.canary import PATIENCE
from app.engine.engine import Engine
from app.engine.providers import CUDA, TENSORRT, Device, device_of, providers
from app.engine.streams import probed_streams
from app.engine.trunks import GPU_BATCH
from models.errors import Unavailable
from models.modalities.base import Prepared
from models.runtime import CPU, Features
from tests.trunks import FakeShelf, FakeTrunk, card

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class FakeGpu(FakeTrunk):
    """A trunk on a device: `poison` makes every run fail or lie from the next failure on."""

    poisoned = False
    factor = np.float32(1.0)
    running = most = 0
    where: Device = "cuda"

    def device(self) -> Device:
        return self.where

    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.poisoned:
                raise RuntimeError("CUDA error 700: an illegal memory access was encountered")
            if any(one.tobytes() == b"crash" for one in batch):
                self.batches.append([b"crash"])
                raise RuntimeError("CUDA error 700")
            return {tap: self.factor * found for tap, found in super().run(batch, taps).items()}
        finally:
            self.running -= 1


class Scene:
    def __init__(self, gpu: FakeGpu, **options: int) -> None:
        self.gpu = gpu
        self.lost = 0
        shelf = FakeShelf(gpu, FakeGpu(card("signal/fake", "signal")))
        self.engine = Engine(
            shelf, open_trunk=shelf.open, device_lost=self._lose, **{"lanes": 1, "gpu_streams": 1, **options}
        )

    def _lose(self) -> None:
        self.lost += 1

    def ask(self, content: bytes, backbone: str = "text/fake") -> Features:
        return self.engine.embed_sync(backbone, [content])

    def refused(self, content: bytes, code: str = "inference_failed") -> None:
        with pytest.raises(Unavailable) as caught:
            self.ask(content)
        assert caught.value.code == code


@pytest.fixture
def scene() -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def make(**options: int) -> Scene:
        made.append(Scene(FakeGpu(card()), **options))
        return made[-1]

    yield make
    for one in made:
        one.gpu.gate.set()
        one.engine.close(timeout=5)


def test_a_batch_that_fails_on_a_sound_device_costs_itself_alone(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.ask(b"first")
    here.refused(b"crash")
    assert here.ask(b"next").shape == (1, 6)
    assert (here.lost, here.engine.closing) == (0, False)
    assert here.gpu.batches == [[b"first"], [b"crash"], [b"first"], [b"next"]]


def test_a_poisoned_device_is_given_up_for_all_backbones(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.ask(b"first")
    here.gpu.poisoned = True
    here.refused(b"next")
    until(lambda: here.lost == 1)
    assert here.engine.closing
    here.refused(b"later", "device_lost")
    with pytest.raises(Unavailable):
        here.ask(bytes(32), "signal/fake")
    assert here.lost == 1


@pytest.mark.parametrize("factor", [1.1, np.nan])
def test_a_device_that_computes_wrongly_is_given_up(scene: Callable[..., Scene], factor: float) -> None:
    here = scene()
    here.ask(b"first")
    here.gpu.factor = np.float32(factor)
    here.refused(b"crash")
    until(lambda: here.lost == 1)


def test_a_backbone_that_never_ran_has_three_tries(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.gpu.poisoned = True
    for _ in range(PATIENCE - 1):
        here.refused(b"x")
    time.sleep(0.01)
    assert here.lost == 0
    here.refused(b"x")
    until(lambda: here.lost == 1)


def test_first_features_must_be_finite(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.gpu.factor = np.float32(np.nan)
    here.refused(b"x")
    here.gpu.factor = np.float32(1)
    assert here.ask(b"x").shape == (1, 6)


def test_a_cpu_is_never_given_up(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.gpu.where = "cpu"
    here.ask(b"first")
    here.gpu.poisoned = True
    for _ in range(PATIENCE + 1):
        here.refused(b"x")
    here.gpu.poisoned = False
    assert here.ask(b"x").shape == (1, 6)
    assert here.lost == 0


@pytest.mark.parametrize(("streams", "most"), [(1, 1), (2, 2), (4, 4)])
def test_a_gpu_runs_only_so_many_batches_at_once(
    scene: Callable[..., Scene], streams: int, most: int
) -> None:
    async def ask() -> None:
        here.gpu.gate.clear()
        asked = []
        for i in range(8):
            before = len(here.gpu.batches)
            asked.append(asyncio.create_task(here.engine.embed("text/fake", [b"%d" % i])))
            await asyncio.sleep(0.02 if before < most else 0.005)
        assert here.gpu.running == most
        here.gpu.gate.set()
        await asyncio.gather(*asked)

    here = scene(lanes=4, gpu_streams=streams)
    here.ask(b"loaded")
    asyncio.run(ask())
    assert here.gpu.most == most
    assert sum(map(len, here.gpu.batches)) == 9


def test_closing_ends_the_lanes_that_wait_for_the_gpu(scene: Callable[..., Scene]) -> None:
    here = scene(lanes=6, gpu_streams=1)
    here.ask(b"loaded")
    here.gpu.gate.clear()
    threads = [threading.Thread(target=here.ask, args=(b"%d" % i,)) for i in range(3)]
    threads[0].start()
    until(lambda: here.gpu.running == 1)  # before that, the next would ride in its batch
    for thread in threads[1:]:
        thread.start()
    until(lambda: here.engine.stats().waiting == 2)
    closing = threading.Thread(target=here.engine.close, args=(5.0,))
    closing.start()
    until(lambda: here.engine.closing)
    started = time.monotonic()
    here.gpu.gate.set()
    closing.join()
    assert time.monotonic() - started < 4
    for thread in threads:
        thread.join()


class Timed:
    """A device that takes 4 ms a run, by a clock of its own: that of each thread stands still but for its
    runs. `alone`: it does one run after the other, whoever asks."""

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._own = threading.local()
        self._turn = threading.Lock()
        self._begun = self._latest = 0.0

    def perf_counter(self) -> float:
        if threading.current_thread() is threading.main_thread():
            self._begun = self._latest
            return self._latest
        return getattr(self._own, "now", self._begun)

    def run(self) -> None:
        with self._turn:
            self._own.now = (self._latest if self._alone else self.perf_counter()) + 0.004
            self._latest = max(self._latest, self._own.now)


@pytest.mark.parametrize(("alone", "streams"), [(False, 2), (True, 1)])
def test_a_probe_finds_whether_a_second_stream_helps(
    alone: bool, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Timed(alone=alone)
    monkeypatch.setattr(streams_module, "time", device)
    assert probed_streams(device.run, 0.4) == streams


def test_the_probe_widens_the_queue_once_and_a_failing_one_costs_its_batch(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[int] = []
    monkeypatch.setattr(lanes_module, "probed_streams", lambda run: probes.append(len(run()["top"])) or 2)
    here = Scene(FakeGpu(card()), gpu_streams=None)  # type: ignore[arg-type]
    here.ask(b"first")
    here.ask(b"second")
    here.ask(bytes(32), "signal/fake")
    assert probes == [32 * GPU_BATCH]
    assert here.engine._queue.gpu_streams == 2
    here.engine.close()
    with pytest.raises(RuntimeError):
        probed_streams(lambda: here.gpu.run([np.frombuffer(b"crash", np.uint8)], ["top"]), 0.01)


def test_tensorrt_is_taken_where_it_is_asked_for_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers_module, "has_nvidia_device", lambda: True)
    monkeypatch.setattr(providers_module.ort, "preload_dlls", lambda: None)
    known = [TENSORRT, CUDA, *CPU]
    monkeypatch.setattr(providers_module.ort, "get_available_providers", lambda: known)
    assert providers() == (CUDA, *CPU)
    assert providers(tensorrt=True) == (TENSORRT, CUDA, *CPU)
    assert providers("cpu", tensorrt=True) == CPU
    known.remove(TENSORRT)
    assert providers(tensorrt=True) == (CUDA, *CPU)


def test_without_a_device_the_cpu_serves_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(providers_module, "has_nvidia_device", lambda: False)
    assert providers() == CPU
    assert not caplog.messages
    assert providers("cuda") == CPU
    assert "no CUDA device" in caplog.text

    class Fallen:
        def get_providers(self) -> list[str]:
            return list(CPU)

    assert device_of(Fallen(), (CUDA, *CPU)) == "cpu"
    assert "gave the CPU" in caplog.text


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)
