"""On a real GPU: the device is used, gives the CPU's answers in any batch, and its loss is noticed. Skipped
without one."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.gpu import GpuRuns
from app.engine.pinned import _runtime, page_locked
from app.settings import Settings
from models.backbone import BackboneCard
from models.errors import Unavailable
from models.runtime import Backbone
from models.shelf import SHIPPED, Shelf
from tests.benchmarks.examples import digits, texts
from tests.gpu.poison import poison
from tests.trunks import POINTS, loaded, manifest, signal_backbone

pytestmark = pytest.mark.gpu
SIGNALS = [np.random.default_rng(i).normal(size=POINTS).astype("<f4").tobytes() for i in range(300)]
ALIKE = 1e-5
"""Of the largest value: what the order of sums in float32 may do."""


class OneShelf:
    def __init__(self, made: BackboneCard, folder: Path) -> None:
        self.found = made, folder

    def get(self, _: str) -> tuple[BackboneCard, Path]:
        return self.found

    by_digest = get


@pytest.fixture
def engine(cuda: tuple[str, ...], tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(OneShelf(signal_backbone(tmp_path), tmp_path), lanes=2, providers=cuda)
    yield engine
    engine.close()


def alike(got: np.ndarray, expected: np.ndarray, share: float = ALIKE) -> None:
    furthest = float(np.abs(got - expected).max() / np.abs(expected).max())
    assert furthest <= share, f"{furthest:.1e} of the largest value apart"


def inputs(backbone: str) -> list[bytes]:
    if backbone.startswith("image"):
        return [bytes(scan) for scan in digits().inputs[:21]]
    if backbone.startswith("text"):
        return [text.encode() for text in texts().inputs[:21]]
    return []


def test_features_are_those_of_the_cpu(engine: Engine, tmp_path: Path) -> None:
    expected = Backbone(tmp_path).embed(SIGNALS, ["top"])["top"]
    alike(engine.embed_sync("signal/tiny", SIGNALS), expected)
    assert engine.device == "cuda"


def test_heads_are_applied_to_features_of_the_device(engine: Engine, tmp_path: Path) -> None:
    made = signal_backbone(tmp_path)
    scores = engine.predict_sync(loaded(manifest(made, 4)), SIGNALS).outputs
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert not engine.closing


@pytest.mark.parametrize("name", ["image/durian-small", "text/minilm-l6"])
def test_an_embedded_backbone_gives_the_cpus_features_in_any_batch(cuda: tuple[str, ...], name: str) -> None:
    folder = Shelf([Settings().embedded_backbones, SHIPPED]).get(name)[1]
    on_cpu, again = Backbone(folder), partial(Backbone, folder, providers=cuda)
    tap = on_cpu.card.default_tap
    prepared = [on_cpu.preprocessor.prepare(content) for content in inputs(name)]
    runs = GpuRuns(again(), again, 32)
    together = runs.run(prepared, [tap])[tap]
    alone = np.concatenate([runs.run([one], [tap])[tap] for one in prepared])
    turned = runs.run(prepared[::-1], [tap])[tap][::-1]
    alike(together, on_cpu.run(prepared, [tap])[tap], 10 * ALIKE)
    alike(alone, together, 5 * ALIKE)  # convolutions: 2e-5 was seen, by other algorithms for other sizes
    alike(turned, together, 5 * ALIKE)


def test_sizes_of_batches_that_take_turns_are_not_planned_anew(cuda: tuple[str, ...]) -> None:
    folder = Shelf([SHIPPED]).get("image/durian-small")[1]
    again = partial(Backbone, folder, providers=cuda)
    runs, tap = GpuRuns(again(), again, 32), again().card.default_tap
    prepared = [runs._backbone.preprocessor.prepare(content) for content in inputs("image/durian-small")]
    started = time.perf_counter()
    for count in range(1, 22):
        runs.run(prepared[:count], [tap])
        runs.run(prepared[-count:], [tap])
    assert time.perf_counter() - started < 1.0  # a plan of its convolutions takes a tenth of a second


def test_memory_for_inputs_is_page_locked(engine: Engine) -> None:
    engine.embed_sync("signal/tiny", SIGNALS[:1])  # which loads the CUDA runtime
    memory, flags = page_locked()(1 << 20), ctypes.c_uint()
    memory[...] = 1
    runtime = _runtime()
    assert runtime is not None
    assert runtime.cudaHostGetFlags(ctypes.byref(flags), ctypes.c_void_p(memory.ctypes.data)) == 0
    ordinary = np.empty(1 << 20, np.uint8)
    assert runtime.cudaHostGetFlags(ctypes.byref(flags), ctypes.c_void_p(ordinary.ctypes.data)) != 0


def _lose_the_device(folder: Path, cuda: tuple[str, ...], told: multiprocessing.Queue[object]) -> None:
    lost: list[bool] = []
    engine = Engine(
        OneShelf(signal_backbone(folder), folder),
        lanes=2,
        providers=cuda,
        device_lost=lambda: lost.append(True),
    )
    engine.embed_sync("signal/tiny", SIGNALS[:3])
    before = engine.degraded()
    poison()
    codes = [_refusal(engine)]
    deadline = time.monotonic() + 10
    while not engine.closing and time.monotonic() < deadline:  # the failure is told before it is looked into
        time.sleep(0.01)
    codes.append(_refusal(engine))
    told.put((before, codes, engine.degraded(), engine.closing, lost))


def _refusal(engine: Engine) -> str:
    try:
        engine.embed_sync("signal/tiny", SIGNALS[:3])
    except Unavailable as error:
        return error.code
    return "none"


def test_a_poisoned_context_is_noticed_at_the_first_batch(cuda: tuple[str, ...], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[object] = context.Queue()
    process = context.Process(target=_lose_the_device, args=(tmp_path, cuda, told))
    process.start()
    seen = told.get(timeout=90)
    process.join(10)
    process.kill()
    assert seen == ([], ["inference_failed", "device_lost"], ["device_lost"], True, [True])
