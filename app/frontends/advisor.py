"""The training side as a front-end has it: asked through the engine's process, which alone starts it."""

from __future__ import annotations

from concurrent.futures import Future as ThreadFuture
from typing import Any

from app.frames import Frame
from app.frontends.line import Line
from app.frontends.messages import away
from app.runners.base import DIED
from models.recommendation import RecommendationSpec

_METHODS_SECONDS = 90.0


class RemoteRun:
    """A recommendation in the making, started by the engine's process."""

    def __init__(self, line: Line, spec: RecommendationSpec) -> None:
        self._answer: ThreadFuture[Frame] = line.from_thread(
            line.ask({"do": "recommend", "spec": spec.canonical().decode()})
        )

    def messages(self, timeout: float) -> list[dict[str, Any]]:
        try:
            return [self._answer.result(timeout).header["message"]]
        except TimeoutError:
            return []

    def alive(self) -> bool:
        return not self._answer.done()

    def fate(self) -> str:
        return DIED

    def kill(self) -> None:
        self._answer.cancel()


class RemoteAdvisor:
    """The training side, which only the engine's process starts: one warm forkserver, not one a process."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def methods(self) -> list[dict[str, Any]]:
        asked = self._line.from_thread(self._line.ask({"do": "methods"}))
        try:
            return list(asked.result(_METHODS_SECONDS).header["methods"])
        except TimeoutError:
            raise away() from None

    def recommend(self, spec: RecommendationSpec) -> RemoteRun:
        return RemoteRun(self._line, spec)
