"""Predictions under load, against the bare ONNX Runtime session."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.client import Client
from app.demo.service import temporary_service
from app.settings import Settings
from models.modalities.base import Feeds
from models.runtime import Backbone
from models.shelf import Shelf
from tests.benchmarks.drive import drive, request
from tests.benchmarks.examples import Examples, texts
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, cpu_seconds, fit, processes, spread, upload

_CLIENTS = (1, 8, 32)
_BATCHES = (1, 4, 8, 16, 32, 64)
_SHOTS = 5


@dataclass(frozen=True)
class Slice:
    """One slice of time: what both gave per CPU second, and what the service gave per second."""

    served: float
    bare: float
    per_second: float
    latencies: Sequence[float]

    @property
    def ratio(self) -> float:
        return self.served / self.bare


class Bare:
    """The backbone's session alone, one thread, on batches of like length made ahead: the hardest rival."""

    def __init__(self, inputs: Sequence[str]) -> None:
        folder = Shelf([Settings().embedded_backbones]).get(MINILM)[1]
        self._backbone = Backbone(folder)
        preprocessor = self._backbone.preprocessor
        prepared = sorted((preprocessor.prepare(text.encode()) for text in inputs), key=preprocessor.size)
        self._feeds: dict[int, list[Feeds]] = {}
        for size in _BATCHES:
            batches = [prepared[i : i + size] for i in range(0, len(prepared), size)]
            self._feeds[size] = [preprocessor.collate(batch) for batch in batches]
        self._items = len(prepared)
        self.batch = max(_BATCHES, key=lambda size: self.rate(size, 0.0))

    def rate(self, batch: int, seconds: float) -> float:
        """Items per CPU second, over all texts at least once and for `seconds` at least."""
        started, cpu, passes = time.perf_counter(), time.process_time(), 0
        while not passes or time.perf_counter() - started < seconds:
            for feeds in self._feeds[batch]:
                self._backbone.session.run(None, feeds)
            passes += 1
        return passes * self._items / (time.process_time() - cpu)


class Served:
    """A fitted model behind HTTP, asked for one text a request."""

    def __init__(self, client: Client, chosen: Examples, inputs: Sequence[str]) -> None:
        model = fit(client, upload(client, chosen), "throughput").fine_tuned_model
        url = client.driver.http.base_url
        self._address = (url.host, url.port or 80)
        bodies = (json.dumps({"model": model, "input": text, "top_k": 1}).encode() for text in inputs)
        self._requests = [request(url.host, "/v1/predictions", body) for body in bodies]
        self._tree = processes()

    def slice(self, clients: int, seconds: float, bare: float) -> Slice:
        """Drive it for a while, beside what the bare session just gave."""
        before = cpu_seconds(self._tree)
        seen = drive(self._address, self._requests, clients, seconds)
        cpu = cpu_seconds(self._tree) - before
        answered = len(seen.latencies)
        return Slice(answered / cpu, bare, answered / seen.seconds, seen.latencies)


@benchmark("Throughput: predictions against the bare session")
def throughput(setup: Setup) -> Iterator[Row]:
    """One text a request over HTTP, JSON, on a model of 12 classes over MiniLM; clients and service share the
    machine. CPU ratio: predictions per CPU second of the service's processes / texts per CPU second of the
    bare session (tokenised and sorted by length ahead, at its best batch), in slices that take turns. It
    holds on a busy machine; predictions a second do not.
    """
    chosen, rest = texts().split(_SHOTS, seed=0)
    slices: dict[int, list[Slice]] = {clients: [] for clients in _CLIENTS}
    with temporary_service() as client:
        served, bare = Served(client, chosen, rest.inputs), Bare(rest.inputs)
        for _ in range(setup.amount(5)):
            for clients, found in slices.items():
                rate = bare.rate(bare.batch, setup.amount(2, 0))
                found.append(served.slice(clients, setup.amount(4), rate))
    rates = [piece.bare for found in slices.values() for piece in found]
    how = f"median; batches of {bare.batch}; {spread(rates, 0)}"
    yield Row(what="bare session, texts per CPU second", value=float(np.median(rates)), digits=0, how=how)
    for clients, found in slices.items():
        yield from _rows(f"{clients} client{'s' * (clients > 1)}", found)


def _rows(name: str, found: Sequence[Slice]) -> Iterator[Row]:
    ratios, rates = [piece.ratio for piece in found], [piece.per_second for piece in found]
    ratio, rate = float(np.median(ratios)), float(np.median(rates))
    yield Row(what=f"{name}, CPU ratio", value=ratio, digits=2, how=f"median; {spread(ratios, 2)}")
    latencies = [1_000 * latency for piece in found for latency in piece.latencies]
    p50, p99 = np.percentile(latencies, [50, 99])
    how = f"median; a request takes {p50:.1f} ms (half) and {p99:.1f} ms (99 %)"
    yield Row(what=f"{name}, predictions a second", value=rate, digits=0, how=how)
