"""Lanes: threads that prepare inputs, run the trunk once for everybody, apply the heads, and answer."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from app.engine.canary import Canary
from app.engine.heads import AffineHead, TailHead, apply_alike, columns
from app.engine.pool import Step
from app.engine.queue import Queue
from app.engine.stats import Phases, Stats
from app.engine.streams import probed_streams
from app.engine.trunks import GPU_BATCH, Trunk
from app.engine.unknown import find_unknown
from app.engine.work import Item, Part, Work, deliver, divide, placed
from models.errors import DeadlineExceeded, DurianError, Unavailable
from models.modalities.base import Prepared

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
                fail((item.work for item in step.items), Unavailable(message, code="inference_failed"))
                self._canary.failed(step.items[0].work.trunk)
            finally:
                self._since[lane] = None
                (self._queue.put_back if step.prepare else self._queue.ran)(step.items)
            del step  # an idle lane keeps no request alive

    def _do(self, step: Step) -> None:
        parts = living(divide(step.items))
        if step.prepare:
            prepare(parts)
        elif parts:
            self._run(parts)

    def _run(self, parts: list[Part]) -> None:
        started, cpu = _clock(), time.thread_time_ns()
        for part in parts:
            part.work.started_ns = part.work.started_ns or started
        compute(parts)
        items = [item for part in parts for item in part.items]
        self._hear(parts[0])
        broken = [part.work for part in parts if part.outputs is None]
        if broken:
            message = "The model's head failed on this batch; try again."
            fail(broken, Unavailable(message, code="inference_failed"))
        find_unknown(parts)
        self._finish(parts, sum(item.prepare_ns for item in items), started)
        # Last: what a batch costs besides its graph speaks for larger ones.
        self._queue.learn(items, _clock() - started, time.thread_time_ns() - cpu)

    def _hear(self, part: Part) -> None:
        prepared, trunk, tap = part.items[0].prepared, part.work.trunk, part.work.tap
        if prepared is None or tail_of(part) is not None:
            return
        if self._canary.heard(trunk, prepared, tap, part.features[0]):
            batch = [prepared] * self._queue.max_batch * GPU_BATCH
            self._queue.widen(partial(probed_streams, partial(trunk.run, batch, [tap])))

    def _finish(self, parts: list[Part], prepare_ns: int, started: int) -> None:
        ended = _clock()
        with self._results:
            done = [part.work for part in parts if part.outputs is not None and part.work.fill(part)]
        count(parts, Phases(prepare_ns, ended - started, _clock() - ended))
        for work in done:
            work.succeed()
        deliver(done)


def living(parts: list[Part]) -> list[Part]:
    """Without the requests that were cancelled or have failed, and those whose time ran out."""
    now = time.monotonic()
    late = [part.work for part in parts if part.work.expired(now)]
    if late:
        fail(late, DeadlineExceeded("The request's time ran out before it was served."))
    return [part for part in parts if not part.work.over()]


def prepare(parts: list[Part]) -> None:
    """Decode or tokenise each input. One that cannot be fails its own request and no other."""
    items = [item for part in parts for item in part.items]
    if not items:
        return
    trunk, started = items[0].work.trunk, _clock()
    for item, found in zip(items, _prepared(trunk, items), strict=True):
        if isinstance(found, DurianError):
            fail([item.work], found)
        else:
            item.prepared, item.size = found, trunk.size(found)
    share = (_clock() - started) // len(items)
    for item in items:
        item.prepare_ns = share


def _prepared(trunk: Trunk, items: list[Item]) -> Sequence[Prepared | DurianError]:
    places = [f"input {item.row}" for item in items]
    try:
        return trunk.prepare([item.work.ask.contents[item.row] for item in items], places)
    except Exception as error:
        log.exception("inputs cannot be prepared")
        if isinstance(error, DurianError):
            return [error] * len(items)
        message = "The inputs cannot be prepared just now; try again."
        return [Unavailable(message, code="inference_failed")] * len(items)


def compute(parts: list[Part]) -> None:
    """Each part's features and outputs: one run for those at taps, one for each cut that tails begin at."""
    groups: dict[str | None, list[Part]] = {}
    for part in parts:
        tail = tail_of(part)
        groups.setdefault(tail.tap if tail else None, []).append(part)
    for cut, alike in groups.items():
        if cut is None:
            run_trunk(alike)
            run_heads(alike)
        else:
            run_tails(alike, cut)


def tail_of(part: Part) -> TailHead | None:
    """The part's tail, if its model has one."""
    head = part.work.ask.model.head if part.work.ask.model is not None else None
    return head if isinstance(head, TailHead) else None


def _batch(parts: Iterable[Part]) -> list[Prepared]:
    return [item.prepared for part in parts for item in part.items if item.prepared is not None]


def run_tails(parts: list[Part], cut: str) -> None:
    """One run of the trunk below a cut for all, then each model's own tail on its rows."""
    by_tail: dict[TailHead, list[tuple[Part, slice]]] = {}
    for part, rows in placed(parts):
        if (tail := tail_of(part)) is not None:
            by_tail.setdefault(tail, []).append((part, rows))
    edges = parts[0].work.trunk.edges(_batch(parts), cut)
    for tail, its in by_tail.items():
        chosen = [row for _, rows in its for row in range(rows.start, rows.stop)]
        try:
            outputs, features = tail.apply(edges, chosen)
        except Exception:
            log.exception("a tail failed on a batch of %d", len(chosen))
            continue
        for part, rows in placed(part for part, _ in its):
            part.outputs, part.features = outputs[rows], features[rows]


def run_trunk(parts: list[Part]) -> None:
    """One run for all taps wanted; each part's features [n, D] at its own tap."""
    taps = list(dict.fromkeys(part.work.tap for part in parts))
    by_tap = parts[0].work.trunk.run(_batch(parts), taps)
    for part, rows in placed(parts):
        part.features = by_tap[part.work.tap][rows]


def run_heads(parts: list[Part]) -> None:
    """Each part's outputs [n, C]; None where its head broke, of no columns where it asked for none.

    Affine heads over one tap and with one activation run together, any other head by itself.
    """
    groups: dict[object, list[Part]] = {}
    for part in parts:
        if part.work.ask.model is None:
            part.outputs = np.empty((len(part.items), 0), np.float32)
        else:
            head = part.work.ask.model.head
            key = (part.work.tap, head.activation) if isinstance(head, AffineHead) else head
            groups.setdefault(key, []).append(part)
    for alike in groups.values():
        try:
            _run_alike(alike)
        except Exception:
            log.exception("a head failed on a batch of %d", sum(len(part.items) for part in alike))


def _run_alike(parts: list[Part]) -> None:
    inputs = np.concatenate([part.features for part in parts])
    models = [(part.work.ask.model, len(part.items)) for part in parts]
    heads = [head for model, count in models if model is not None for head in [model.head] * count]
    outputs = apply_alike(inputs, heads)
    for part, rows in placed(parts):
        part.outputs = outputs[rows, : columns(heads[rows.start])]


def fail(works: Iterable[Work], error: DurianError) -> None:
    """Fail these requests, each once."""
    failed = [work for work in dict.fromkeys(works) if not work.over()]
    for work in failed:
        work.fail(error)
    deliver(failed)


def count(parts: list[Part], phases: Phases) -> None:
    """Record the batch with its backbone, its models and its requests."""
    sizes: Counter[Stats] = Counter()
    for part in parts:
        sizes[part.work.trunk.stats] += len(part.items)
        if part.work.ask.model is not None:
            sizes[part.work.ask.model.stats] += len(part.items)
    for stats, size in sizes.items():
        stats.execution(size, phases)
    for part in parts:
        part.work.spend(phases)
