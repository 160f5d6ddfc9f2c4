"""Counters of one model or backbone, after the Open Inference Protocol's statistics extension."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Phases(NamedTuple):
    """Nanoseconds of one execution: preparing inputs, running graphs, handing out results."""

    input: int
    infer: int
    output: int

    def plus(self, other: Phases) -> Phases:
        """The sums."""
        return Phases(self.input + other.input, self.infer + other.infer, self.output + other.output)


@dataclass
class Duration:
    """How often, and for how many nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns


@dataclass
class Compute:
    """The three phases of computing."""

    input: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)

    def add(self, phases: Phases) -> None:
        self.input.add(phases.input)
        self.infer.add(phases.infer)
        self.output.add(phases.output)


@dataclass
class Counters:
    """What has happened so far.

    `inferences` counts examples, `executions` the batches they ran in (their quotient is the mean batch);
    `success`, `queue` and `compute` count requests; `failures` counts them by error code.
    """

    inferences: int = 0
    executions: int = 0
    last_inference_ms: int = 0
    success: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute: Compute = field(default_factory=Compute)
    failures: dict[str, Duration] = field(default_factory=dict)
    batches: dict[int, Compute] = field(default_factory=dict)


class Stats:
    """Counters that several lanes add to."""

    __slots__ = ("_counters", "_lock")

    def __init__(self) -> None:
        self._counters = Counters()
        self._lock = threading.Lock()

    def execution(self, size: int, phases: Phases) -> None:
        """One batch in which `size` examples of this model ran."""
        with self._lock:
            self._counters.inferences += size
            self._counters.executions += 1
            self._counters.last_inference_ms = time.time_ns() // 1_000_000
            self._counters.batches.setdefault(size, Compute()).add(phases)

    def success(self, queue_ns: int, total_ns: int, phases: Phases) -> None:
        """One request answered."""
        with self._lock:
            self._counters.success.add(total_ns)
            self._counters.queue.add(queue_ns)
            self._counters.compute.add(phases)

    def failure(self, code: str, total_ns: int) -> None:
        """One request refused or failed. `code` is that of the error, one of a few."""
        with self._lock:
            self._counters.failures.setdefault(code, Duration()).add(total_ns)

    def snapshot(self) -> Counters:
        """A copy, consistent in itself."""
        with self._lock:
            return copy.deepcopy(self._counters)


def total(durations: Mapping[str, Duration]) -> Duration:
    """The sum over all keys."""
    return Duration(sum(d.count for d in durations.values()), sum(d.ns for d in durations.values()))
