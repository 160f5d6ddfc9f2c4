"""A GPU: the bare CUDA session, the engine, and the whole service with several front-ends."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from app.client import Client
from app.decoding.decoders import Decoders
from app.demo.service import temporary_service
from app.engine.engine import Engine
from app.engine.providers import CUDA, providers
from app.settings import Settings
from models.backbone import GRAPH, write_backbone
from models.base import sha256
from models.modalities.base import Prepared
from models.runtime import Backbone
from models.shelf import SHIPPED, Shelf
from tests.benchmarks.drive import Target, drive
from tests.benchmarks.examples import photographs, texts
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, fit, spread, upload
from tests.benchmarks.serving import PHOTOGRAPHS, add_classifier
from training.backbones.variants.half import halve

_BATCHES = (32, 128, 512)
_MANY, _IN_FLIGHT = 256, 8  # below what may wait
_SINGLE = 512
_CLIENTS = 128
_ASKED = 0.85


@benchmark("GPU: the service against the bare CUDA session")
def gpu(setup: Setup) -> Iterator[Row]:
    """Bare: the session alone in one thread, on batches of like length prepared ahead, at its best batch.
    Engine: inputs as they come over HTTP, without HTTP, tokenised or decoded by it; requests of 256 inputs,
    8 at a time, or of one, 512 at a time. In slices that take turns. Float32 without TF32; MobileNetV2 has
    random weights. Service: over HTTP, with front-end processes beside the engine's.
    """
    found = providers()
    if CUDA not in found:
        raise Skipped("There is no CUDA device here, or its libraries are missing.")
    with TemporaryDirectory(prefix="durian-gpu-") as name:
        shelf = Shelf([Path(name), Settings().embedded_backbones, SHIPPED])
        contents = [text.encode() for text in texts().inputs]
        yield from _halved(shelf, Path(name), contents, found, setup)
        yield from _engine(_Case("text", MINILM, contents, _ASKED), shelf, found, setup)
        if find_spec("torchvision") is not None:
            add_classifier(Path(name), PHOTOGRAPHS)
            pictures = [bytes(picture) for picture in photographs(256).inputs]
            yield from _engine(_Case("photograph", PHOTOGRAPHS, pictures, None), shelf, found, setup)
    yield from _service(setup)


@dataclass(frozen=True)
class _Case:
    name: str
    backbone: str
    contents: Sequence[bytes]
    asked: float | None


def _halved(
    shelf: Shelf, root: Path, contents: Sequence[bytes], on: tuple[str, ...], setup: Setup
) -> Iterator[Row]:
    """What the bare session gives in float16."""
    card, folder = shelf.get(MINILM)
    files = {name: (folder / name).read_bytes() for name in card.files}
    files[GRAPH] = halve(files[GRAPH])
    digests = {name: sha256(data) for name, data in files.items()}
    write_backbone(root / "half", card.model_copy(update={"id": "text/half", "files": digests}), files)
    bare = _Bare(root / "half", contents, on)
    rates = [bare.rate(bare.best, setup.amount(2)) for _ in range(setup.amount(3))]
    how = f"median; batches of {bare.best}; {spread(rates, 0)}"
    yield Row(
        what="text, bare CUDA session in float16, inputs a second", value=median(rates), digits=0, how=how
    )


def _engine(case: _Case, shelf: Shelf, on: tuple[str, ...], setup: Setup) -> Iterator[Row]:
    bare = _Bare(shelf.get(case.backbone)[1], case.contents, on)
    decoders = Decoders(os.cpu_count() or 1) if case.name != "text" else None
    started = time.perf_counter()
    engine = Engine(shelf, providers=on, decoders=decoders)
    try:
        for count, at_once in ((_MANY, _IN_FLIGHT), (1, _SINGLE)):
            _flood(engine, case, count, at_once, 1.0)  # loads, makes the sizes ready, and probes
            if count == _MANY:
                ready = time.perf_counter() - started
            pairs = [
                (
                    _flood(engine, case, count, at_once, setup.amount(3)),
                    bare.rate(bare.best, setup.amount(3)),
                )
                for _ in range(setup.amount(4))
            ]
            if count == _MANY:
                yield from bare.rows(case.name, [one for _, one in pairs])
                yield Row(what=f"{case.name}, engine, until it was ready", value=ready, unit="s", digits=1)
            yield _ratio(case, count, pairs)
    finally:
        engine.close()
        if decoders is not None:
            decoders.close()


def _ratio(case: _Case, count: int, pairs: Sequence[tuple[float, float]]) -> Row:
    ratios = [ours / one for ours, one in pairs]
    how = f"median; {median(ours for ours, _ in pairs):,.0f} inputs a second; {spread(ratios, 2)}"
    what = f"{case.name}, engine / bare, requests of {count}"
    asked = case.asked if count > 1 else None
    return Row(what=what, value=median(ratios), digits=2, at_least=asked, how=how)


class _Bare:
    def __init__(self, folder: Path, contents: Sequence[bytes], on: tuple[str, ...]) -> None:
        backbone = Backbone(folder, providers=on)
        how = backbone.preprocessor
        prepared: list[Prepared] = sorted((how.prepare(content) for content in contents), key=how.size)
        self._run: Callable[[dict[str, object]], object] = lambda feeds: backbone.session.run(None, feeds)
        self._feeds = {
            size: [how.collate(_some(prepared, start, size)) for start in range(0, len(prepared), size)]
            for size in _BATCHES
        }
        for size in _BATCHES:
            self.rate(size, 0.0)
        self.best = _BATCHES[int(np.argmax([self.rate(size, 0.5) for size in _BATCHES]))]

    def rate(self, size: int, seconds: float) -> float:
        """Inputs a second, over all of them at least once."""
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds or not done:
            for feeds in self._feeds[size]:
                self._run(feeds)
                done += size
        return done / (time.perf_counter() - started)

    def rows(self, name: str, rates: Sequence[float]) -> Iterator[Row]:
        how = f"median; batches of {self.best}; {spread(rates, 0)}"
        yield Row(what=f"{name}, bare CUDA session, inputs a second", value=median(rates), digits=0, how=how)


def _some(prepared: Sequence[Prepared], start: int, size: int) -> list[Prepared]:
    """So many from there, each again and again where there are fewer, of like length."""
    return sorted((prepared[(start + i) % len(prepared)] for i in range(size)), key=len)


def _flood(engine: Engine, case: _Case, count: int, at_once: int, seconds: float) -> float:
    """Inputs a second, in requests of `count`, so many at a time."""
    contents = case.contents

    async def client(first: int, end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            some = [contents[(first + done + i) % len(contents)] for i in range(count)]
            await engine.embed(case.backbone, some)
            done += count
        return done

    async def all_of_them() -> float:
        started = time.perf_counter()
        counts = await asyncio.gather(*(client(7 * i, started + seconds) for i in range(at_once)))
        return sum(counts) / (time.perf_counter() - started)

    return asyncio.run(all_of_them())


def _service(setup: Setup) -> Iterator[Row]:
    chosen, rest = texts().split(5, seed=0)
    inputs = [str(text) for text in rest.inputs]
    for workers in (0, 2, 4, 8):
        with temporary_service(arguments=["--workers", str(workers)]) as client:
            model = fit(client, upload(client, chosen), "served").fine_tuned_model
            for count, clients in ((1, _CLIENTS), (_MANY, _IN_FLIGHT)):
                seen = _driven(client, str(model), inputs, count, clients, setup)
                rate, p50, p99 = (median(values) for values in zip(*seen, strict=True))
                how = f"median; {clients} clients; a request takes {p50:.1f} ms (half), {p99:.1f} ms (99 %)"
                what = f"text over HTTP, {workers} front-ends, requests of {count}, inputs a second"
                yield Row(what=what, value=rate, digits=0, how=how)


def _driven(
    client: Client, model: str, inputs: Sequence[str], count: int, clients: int, setup: Setup
) -> list[tuple[float, float, float]]:
    """Inputs a second and milliseconds, by runs."""
    url = client.driver.http.base_url
    asked = inputs if count == 1 else [list(islice(cycle(inputs), count))]
    bodies = [json.dumps({"model": model, "input": one, "top_k": 1}).encode() for one in asked]
    target = Target(url.host, url.port or 80, "/v1/predictions", bodies)
    drive(target, clients, 1)
    runs = [drive(target, clients, setup.amount(3)) for _ in range(setup.amount(2))]
    return [(count * run.answered / run.seconds, run.p50, run.p99) for run in runs]
