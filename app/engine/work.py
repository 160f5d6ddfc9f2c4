"""One request on its way through the engine, from a caller's thread or loop to a lane and back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.engine.heads import Outputs
from app.engine.model import LoadedModel, Prediction
from app.engine.stats import Phases
from app.engine.trunks import Trunk
from models.errors import DurianError
from models.modalities.base import Prepared
from models.runtime import Features

Reply = asyncio.Future[Prediction] | concurrent.futures.Future[Prediction]
NO_TIME = Phases(0, 0, 0)


class Ask(NamedTuple):
    """What a caller wants: answers of `model`, or the features at `tap` where `model` is None.

    `contents` are canonical inputs; `embedding` asks for the features too, `unknown` whether an input is
    unlike the model's examples; `priority` is one of `app.engine.queue`; `deadline` is a time of
    `time.monotonic`.
    """

    contents: Sequence[bytes]
    model: LoadedModel | None = None
    tap: str | None = None
    embedding: bool = False
    priority: int = 0
    deadline: float | None = None
    unknown: bool = False
    tenant: str = ""


@dataclass(slots=True, eq=False)
class Work:
    """A request in the engine, and its results as they come in.

    `loop` is the event loop that `reply` belongs to, None for a reply that a thread waits for; `queued` is
    how many of its inputs wait now and `counted` what they count for, both kept by the queue.
    """

    ask: Ask
    trunk: Trunk
    tap: str
    reply: Reply
    loop: asyncio.AbstractEventLoop | None = None
    queued_ns: int = field(default_factory=time.perf_counter_ns)
    started_ns: int = 0
    spent: Phases = NO_TIME
    error: DurianError | None = None
    queued: int = 0
    counted: tuple[Hashable, ...] = ()
    _missing: int = 0
    _outputs: Outputs | None = None
    _embedding: Features | None = None
    _unknown: list[bool | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._missing = len(self.ask.contents)
        if self.ask.unknown:
            self._unknown = [None] * self._missing

    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.error is not None or self.reply.done()

    def expired(self, now: float) -> bool:
        return self.ask.deadline is not None and now > self.ask.deadline

    def fill(self, part: Part) -> bool:
        """Take in the results of some inputs; True when they were the last. One thread at a time."""
        rows, count = [item.row for item in part.items], len(self.ask.contents)
        if part.outputs is not None:
            self._outputs = _filled(self._outputs, count, rows, part.outputs)
        if self.ask.embedding:
            self._embedding = _filled(self._embedding, count, rows, part.features)
        if self.ask.unknown and part.unknown is not None:
            for row, unknown in zip(rows, part.unknown, strict=True):
                self._unknown[row] = unknown
        self._missing -= len(rows)
        return self._missing == 0

    def spend(self, phases: Phases) -> None:
        """Add the time of a batch that it took part in."""
        self.spent = self.spent.plus(phases)

    def fail(self, error: DurianError) -> None:
        """End it with an error; the first one counts."""
        if self.error is None:
            # The traceback keeps the frames that raised it, and these the batch and its backbone.
            self.error = error.with_traceback(None)
            self.count_failure(error)

    def count_failure(self, error: DurianError) -> None:
        """Count it as failed or refused."""
        if self.ask.model is not None:
            self.ask.model.stats.failure(error.code, time.perf_counter_ns() - self.queued_ns)

    def succeed(self) -> None:
        """Count it as answered."""
        if self.ask.model is not None:
            now = time.perf_counter_ns()
            waited = self.started_ns - self.queued_ns
            self.ask.model.stats.success(waited, now - self.queued_ns, self.spent)
            self.trunk.stats.success(waited, now - self.queued_ns, self.spent)

    def resolve(self) -> None:
        """Hand the result, or the error, to who waits. In the loop's thread, if there is a loop."""
        with suppress(asyncio.InvalidStateError, concurrent.futures.InvalidStateError):  # cancelled meanwhile
            if self.error is not None:
                self.reply.set_exception(self.error)
            elif self._outputs is not None:
                self.reply.set_result(Prediction(self._outputs, self._embedding, self._told()))

    def _told(self) -> NDArray[np.bool_] | None:
        """Which inputs are unknown; None unless that was found of each."""
        told = bool(self._unknown) and None not in self._unknown
        return np.array(self._unknown, bool) if told else None


@dataclass(slots=True, eq=False)
class Item:
    """One input of a request. `turn` orders a tenant's items in one rank."""

    work: Work
    row: int
    turn: int
    prepared: Prepared | None = None
    size: int = 1
    prepare_ns: int = 0


@dataclass(slots=True, eq=False)
class Part:
    """Inputs of one request in one batch, and what is found of them.

    `features` [n, D] are there once the trunk or the tail has run, `outputs` [n, C] unless the head broke,
    `unknown` where that was asked and could be told.
    """

    work: Work
    items: list[Item]
    features: Features = field(init=False)
    outputs: Outputs | None = None
    unknown: list[bool] | None = None


def divide(items: Iterable[Item]) -> list[Part]:
    """The inputs of each request."""
    parts: dict[Work, Part] = {}
    for item in items:
        part = parts.get(item.work)
        if part is None:
            parts[item.work] = Part(item.work, [item])
        else:
            part.items.append(item)
    return list(parts.values())


def placed(parts: Iterable[Part]) -> Iterator[tuple[Part, slice]]:
    """Each part with its rows in a batch of them all, where one follows the other."""
    end = 0
    for part in parts:
        start, end = end, end + len(part.items)
        yield part, slice(start, end)


def _filled(
    into: NDArray[np.float32] | None, count: int, rows: list[int], found: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`into` [count, ...], made where there is none, with what was found in these rows."""
    if len(found) != len(rows):
        raise ValueError("not as many answers as inputs")
    if count == 1:
        return found.copy()  # so that the others of the batch are not kept
    if into is None:
        into = np.empty((count, found.shape[1]), np.float32)
    into[rows] = found
    return into


def deliver(works: Iterable[Work]) -> None:
    """Resolve finished requests: one call into each event loop, whatever their number."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[Work]] = {}
    for work in works:
        by_loop.setdefault(work.loop, []).append(work)
    for loop, group in by_loop.items():
        if loop is None:
            _resolve(group)
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_resolve, group)


def _resolve(works: list[Work]) -> None:
    for work in works:
        work.resolve()
