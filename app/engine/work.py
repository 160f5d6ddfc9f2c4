"""One request on its way through the engine, from a caller's thread or loop to a lane and back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

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
NO_OUTPUTS = np.empty(0, np.float32)
NO_TIME = Phases(0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
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

    def fill(self, row: int, outputs: Outputs, features: Features, unknown: bool | None = None) -> bool:
        """Take in the results of one input; True when it was the last one. One thread at a time."""
        if self._outputs is None:
            self._outputs = np.empty((len(self.ask.contents), len(outputs)), np.float32)
        self._outputs[row] = outputs
        if self.ask.embedding:
            if self._embedding is None:
                self._embedding = np.empty((len(self.ask.contents), len(features)), np.float32)
            self._embedding[row] = features
        if self.ask.unknown:
            self._unknown[row] = unknown
        self._missing -= 1
        return self._missing == 0

    def spend(self, phases: Phases) -> None:
        """Add the time of a batch that it took part in."""
        self.spent = Phases(*(a + b for a, b in zip(self.spent, phases, strict=True)))

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
