"""Lanes: threads that prepare inputs, run the trunk once for everybody, apply the heads, and answer."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from app.engine.canary import Canary
from app.engine.heads import AffineHead, Outputs, TailHead, apply_alike
from app.engine.pool import Step
from app.engine.queue import Queue
from app.engine.stats import Phases, Stats
from app.engine.streams import probed_streams
from app.engine.trunks import GPU_BATCH, Trunk
from app.engine.unknown import find_unknown
from app.engine.work import NO_OUTPUTS, Item, Work, deliver
from models.errors import DeadlineExceeded, DurianError, Unavailable
from models.modalities.base import Prepared
from models.runtime import Features

log = logging.getLogger(__name__)
_NICENESS = 5
"""Where lanes and the event loop want the same cores, the loop goes first: it has little to do for each
request, and while it waits nobody is answered, refused, or told that the service lives."""

_clock = time.perf_counter_ns


class Lanes:
    """`count` threads that serve one queue."""

    def __init__(self, queue: Queue, count: int, canary: Canary) -> None:
        self._queue = queue
        self._canary = canary
        self._results = threading.Lock()
        self._since: list[float | None] = [None] * count
        self._threads = [
            threading.Thread(target=self._serve, args=(i,), name=f"lane-{i}", daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the lanes to end; False when some still ran after `timeout` seconds."""
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def longest(self) -> float:
        """Seconds that the slowest lane has been at what it does now."""
        now = time.monotonic()
        return max((now - since for since in self._since if since is not None), default=0.0)

    def _serve(self, lane: int) -> None:
        if sys.platform == "linux":  # there it is of this thread alone
            os.nice(_NICENESS)
        while (step := self._queue.take()) is not None:
            self._since[lane] = time.monotonic()
            try:
                self._do(step)
            except Exception:
                log.exception("a batch of %d failed", len(step.items))
                message = "The backbone failed on this batch; try again."
                fail(step.items, Unavailable(message, code="inference_failed"))
                self._canary.failed(step.items[0].work.trunk)
            finally:
                self._since[lane] = None
                if not step.prepare:
                    self._queue.ran(step.items)
            del step  # an idle lane keeps no request alive

    def _do(self, step: Step) -> None:
        items = drop_dead(step.items)
        if step.prepare:
            prepare(items)
            self._queue.put_back(step.items)
        elif items:
            self._run(items)

    def _run(self, items: list[Item]) -> None:
        started, cpu = _clock(), time.thread_time_ns()
        for item in items:
            item.work.started_ns = item.work.started_ns or started
        features, outputs = compute(items)
        self._queue.learn(items, _clock() - started, time.thread_time_ns() - cpu)
        self._hear(items[0], features[0])
        broken = [item for item, row in zip(items, outputs, strict=True) if row is None]
        if broken:
            message = "The model's head failed on this batch; try again."
            fail(broken, Unavailable(message, code="inference_failed"))
        self._finish(items, features, outputs, find_unknown(items, features, outputs), started)

    def _hear(self, item: Item, features: Features) -> None:
        if item.prepared is None or tail_of(item) is not None:
            return
        trunk, tap = item.work.trunk, item.work.tap
        if self._canary.heard(trunk, item.prepared, tap, features):
            batch = [item.prepared] * self._queue.max_batch * GPU_BATCH
            self._queue.widen(partial(probed_streams, partial(trunk.run, batch, [tap])))

    def _finish(
        self,
        items: list[Item],
        features: list[Features],
        outputs: list[Outputs | None],
        unknown: list[bool | None],
        started: int,
    ) -> None:
        ended = _clock()
        done: list[Work] = []
        with self._results:
            for item, vector, row, new in zip(items, features, outputs, unknown, strict=True):
                if row is not None and item.work.fill(item.row, row, vector, new):
                    done.append(item.work)
        count(items, Phases(sum(item.prepare_ns for item in items), ended - started, _clock() - ended))
        for work in done:
            work.succeed()
        deliver(done)


def drop_dead(items: list[Item]) -> list[Item]:
    """Without the inputs of requests that were cancelled or have failed, and of those whose time ran out."""
    now = time.monotonic()
    late = [item for item in items if item.work.expired(now)]
    if late:
        fail(late, DeadlineExceeded("The request's time ran out before it was served."))
    return [item for item in items if not item.work.over()]


def prepare(items: list[Item]) -> None:
    """Decode or tokenise each input. One that cannot be fails its own request and no other."""
    if not items:
        return
    trunk, started = items[0].work.trunk, _clock()
    places = [f"input {item.row}" for item in items]
    for item, found in zip(items, _prepared(trunk, items, places), strict=True):
        if isinstance(found, DurianError):
            fail([item], found)
        else:
            item.prepared, item.size = found, trunk.size(found)
    share = (_clock() - started) // len(items)
    for item in items:
        item.prepare_ns = share


def _prepared(trunk: Trunk, items: list[Item], places: list[str]) -> Sequence[Prepared | DurianError]:
    try:
        return trunk.prepare([item.work.ask.contents[item.row] for item in items], places)
    except Exception as error:
        log.exception("inputs cannot be prepared")
        if isinstance(error, DurianError):
            return [error] * len(items)
        message = "The inputs cannot be prepared just now; try again."
        return [Unavailable(message, code="inference_failed")] * len(items)


def compute(items: list[Item]) -> tuple[list[Features], list[Outputs | None]]:
    """Each item's features [D] and outputs [C]: first those at taps, then those with tails of their own."""
    if not any(tail_of(item) for item in items):
        features = run_trunk(items)
        return features, run_heads(items, features)
    found: dict[int, tuple[Features, Outputs | None]] = {}
    for rows in _alike(items):
        group = [items[row] for row in rows]
        features, outputs = run_tails(group) if tail_of(group[0]) else compute(group)
        found.update(zip(rows, zip(features, outputs, strict=True), strict=True))
    return [found[row][0] for row in range(len(items))], [found[row][1] for row in range(len(items))]


def tail_of(item: Item) -> TailHead | None:
    """The item's tail, if its model has one."""
    head = item.work.ask.model.head if item.work.ask.model is not None else None
    return head if isinstance(head, TailHead) else None


def _alike(items: list[Item]) -> list[list[int]]:
    """Rows by where the shared part of the backbone ends for them: at taps, or at one cut."""
    groups: dict[str | None, list[int]] = {}
    for row, item in enumerate(items):
        tail = tail_of(item)
        groups.setdefault(tail.tap if tail else None, []).append(row)
    return list(groups.values())


def run_tails(items: list[Item]) -> tuple[list[Features], list[Outputs | None]]:
    """One run of the trunk below a cut for all, then each model's own tail on its rows."""
    features: list[Features] = [NO_OUTPUTS] * len(items)
    outputs: list[Outputs | None] = [None] * len(items)
    by_tail: dict[TailHead, list[int]] = {}
    for row, item in enumerate(items):
        if (tail := tail_of(item)) is not None:
            by_tail.setdefault(tail, []).append(row)
    batch = [item.prepared for item in items if item.prepared is not None]
    edges = items[0].work.trunk.edges(batch, next(iter(by_tail)).tap)
    for tail, rows in by_tail.items():
        try:
            answers, embeddings = tail.apply(edges, rows)
        except Exception:
            log.exception("a tail failed on a batch of %d", len(rows))
            continue
        for row, answer, embedding in zip(rows, answers, embeddings, strict=True):
            outputs[row], features[row] = answer, embedding
    return features, outputs


def run_trunk(items: list[Item]) -> list[Features]:
    """One run for all taps wanted; each item's features [D] at its own tap."""
    taps = list(dict.fromkeys(item.work.tap for item in items))
    batch = [item.prepared for item in items if item.prepared is not None]
    by_tap = items[0].work.trunk.run(batch, taps)
    return [by_tap[item.work.tap][row] for row, item in enumerate(items)]


def run_heads(items: list[Item], features: Sequence[Features]) -> list[Outputs | None]:
    """Each item's outputs [C]; None where its head broke, NO_OUTPUTS where it asked for none.

    Affine heads over one tap and with one activation run together, any other head by itself.
    """
    outputs: list[Outputs | None] = [NO_OUTPUTS] * len(items)
    groups: dict[object, list[int]] = {}
    for row, item in enumerate(items):
        if item.work.ask.model is not None:
            head = item.work.ask.model.head
            key = (item.work.tap, head.activation) if isinstance(head, AffineHead) else head
            groups.setdefault(key, []).append(row)
    for rows in groups.values():
        results: Sequence[Outputs | None] = [None] * len(rows)
        try:
            results = _run_group(items, rows, features)
        except Exception:
            log.exception("a head failed on a batch of %d", len(rows))
        for row, result in zip(rows, results, strict=True):
            outputs[row] = result
    return outputs


def _run_group(items: list[Item], rows: list[int], features: Sequence[Features]) -> Sequence[Outputs]:
    inputs = np.stack([features[row] for row in rows])
    heads = [model.head for row in rows if (model := items[row].work.ask.model) is not None]
    return apply_alike(inputs, heads)


def fail(items: list[Item], error: DurianError) -> None:
    """Fail the requests these items belong to, each once."""
    works = [work for work in dict.fromkeys(item.work for item in items) if not work.over()]
    for work in works:
        work.fail(error)
    deliver(works)


def count(items: list[Item], phases: Phases) -> None:
    """Record the batch with its backbone, its models and its requests."""
    by_stats: dict[Stats, int] = {items[0].work.trunk.stats: len(items)}
    for item in items:
        if item.work.ask.model is not None:
            stats = item.work.ask.model.stats
            by_stats[stats] = by_stats.get(stats, 0) + 1
    for stats, size in by_stats.items():
        stats.execution(size, phases)
    for work in dict.fromkeys(item.work for item in items):
        work.spend(phases)
