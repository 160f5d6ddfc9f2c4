"""The phases of a job: timed, and told to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from models.events import Emit, Event

# Where the progress bar stands when a phase begins: roughly its share of a job's time.
_BEGINS = {
    "load": 0.0,
    "features": 0.02,
    "select": 0.3,
    "fit": 0.8,
    "report": 0.9,
    "export": 0.96,
    "done": 1.0,
}
_ENDS = {name: _BEGINS[following] for name, following in pairwise(_BEGINS)}
# A procedure does by itself what else are two phases.
_BEGINS["train"], _ENDS["train"] = _BEGINS["select"], _ENDS["fit"]


class Phases:
    """Seconds by phase in `seconds`; progress events go to `emit`."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.seconds: dict[str, float] = {}
        self._now = "load"

    @contextmanager
    def phase(self, name: str, message: str) -> Iterator[None]:
        """One phase: announced when it begins, timed when it ends."""
        self._now = name
        self.progress(0.0, message)
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def progress(self, share: float, message: str) -> None:
        """So much of the current phase is done."""
        begin, end = _BEGINS[self._now], _ENDS[self._now]
        progress = round(begin + (end - begin) * share, 4)
        self.emit(Event(type="metrics", message=message, data={"phase": self._now, "progress": progress}))

    def say(self, message: str, **data: float | int | str | bool | None) -> None:
        """A line of the log."""
        self.emit(Event(message=message, data=data))
