"""Jobs in a thread of this process: for tests, where a fork a job would only cost time."""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from app.runners.base import DIED, ENTRY
from models.fitspec import FitSpec
from models.recommendation import RecommendationSpec


class _Sink:
    """The writing end of a connection, in memory."""

    def __init__(self) -> None:
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, message: dict[str, Any]) -> None:
        self.messages.put(message)

    def close(self) -> None:
        """Part of a connection's shape; a queue needs no closing."""


class InlineRun:
    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        self._sink = _Sink()
        self._thread = threading.Thread(target=function, args=(*arguments, self._sink), daemon=True)
        self._thread.start()

    def messages(self, timeout: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            while True:
                found.append(self._sink.messages.get(timeout=0 if found else timeout))
        except queue.Empty:
            return found

    def alive(self) -> bool:
        return self._thread.is_alive()

    def fate(self) -> str:
        return DIED

    def kill(self) -> None:
        """A thread cannot be killed: wait for it."""
        self._thread.join()


class InlineRunner:
    def start(self, spec: FitSpec, spec_path: str) -> InlineRun:
        return InlineRun(_entry("run"), spec_path)

    def methods(self) -> list[dict[str, Any]]:
        run = InlineRun(_entry("describe"))
        return list(run.messages(60)[0]["methods"])

    def recommend(self, spec: RecommendationSpec) -> InlineRun:
        return InlineRun(_entry("recommend"), spec.canonical().decode())

    def close(self) -> None:
        """Nothing is held."""


def _entry(name: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(importlib.import_module(ENTRY), name)
    return function
