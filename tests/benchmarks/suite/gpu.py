"""The engine on a GPU, against the bare CUDA session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from app.engine.engine import Engine
from app.engine.providers import CUDA, providers
from app.settings import Settings
from models.runtime import Backbone
from models.shelf import Shelf
from tests.benchmarks.examples import texts
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, spread

_BATCHES = (32, 64, 128, 256)
_IN_FLIGHT = 512


@benchmark("GPU: the engine against the bare CUDA session")
def gpu(setup: Setup) -> Iterator[Row]:
    """MiniLM on short texts. Bare: the session alone, one thread, on batches of like length tokenised ahead,
    at its best batch. Engine: single texts, 512 in flight, tokenised by the engine, no HTTP. In slices that
    take turns.
    """
    found = providers()
    if CUDA not in found:
        raise Skipped("There is no CUDA device here, or its libraries are missing.")
    shelf = Shelf([Settings().embedded_backbones])
    contents = [text.encode() for text in texts().inputs]
    bare, best = _bare(shelf.get(MINILM)[1], contents, found)
    engine = Engine(shelf, providers=found)
    try:
        _flood(engine, contents, 1.0)  # loads, and probes
        pairs = [
            (_flood(engine, contents, setup.amount(3)), bare(setup.amount(3))) for _ in range(setup.amount(7))
        ]
    finally:
        engine.close()
    rates = [one for _, one in pairs]
    how = f"median; batches of {best}; {spread(rates, 0)}"
    yield Row(what="bare CUDA session, texts a second", value=median(rates), digits=0, how=how)
    ratios = [ours / one for ours, one in pairs]
    how = f"median; {median(ours for ours, _ in pairs):.0f} texts a second; {spread(ratios, 2)}"
    yield Row(what="engine against it", value=median(ratios), digits=2, at_least=0.85, how=how)


def _bare(
    folder: Path, contents: Sequence[bytes], on: tuple[str, ...]
) -> tuple[Callable[[float], float], int]:
    """Texts a second of the session in so many seconds, at its best batch; and which that is."""
    backbone = Backbone(folder, providers=on)
    how = backbone.preprocessor
    prepared = sorted((how.prepare(content) for content in contents), key=how.size)

    def rate(size: int, seconds: float) -> float:
        batches = [how.collate(prepared[i : i + size]) for i in range(0, len(prepared), size)]
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds or not done:
            for feeds in batches:
                backbone.session.run(None, feeds)
            done += len(prepared)
        return done / (time.perf_counter() - started)

    for size in _BATCHES:
        rate(size, 0.0)
    best = _BATCHES[int(np.argmax([rate(size, 0.5) for size in _BATCHES]))]
    return lambda seconds: rate(best, seconds), best


def _flood(engine: Engine, contents: Sequence[bytes], seconds: float) -> float:
    """Texts a second, each a request of its own."""

    async def client(first: int, end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            await engine.embed(MINILM, [contents[(first + done) % len(contents)]])
            done += 1
        return done

    async def all_of_them() -> float:
        started = time.perf_counter()
        counts = await asyncio.gather(*(client(i, started + seconds) for i in range(_IN_FLIGHT)))
        return sum(counts) / (time.perf_counter() - started)

    return asyncio.run(all_of_them())
