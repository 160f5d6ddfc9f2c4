"""Clients that hang up while their request waits: it is cancelled, so that nothing is computed for nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope

from app.api.exchange import EXTENSION, Exchange

PATIENCE_SECONDS = 0.5
"""A request that is answered sooner never pays for a task that watches."""


class Departure:
    """Watches one request whose body has been read; made in the task that answers it. `gone`: its client
    left, and it was cancelled.

    Our own server says when a connection is lost. Of another one it is heard by `receive`, which takes a
    task: only of requests that are not answered within `PATIENCE_SECONDS`.

    To be used as a context: it swallows the cancellation that it caused itself.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.gone = False
        self._over = False
        self._exchange: Exchange | None = scope.get("extensions", {}).get(EXTENSION)
        self._request = asyncio.current_task() if self._exchange is None else self._exchange.task
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if self._exchange is not None:
            self._exchange.on_departure = self._left
        else:
            self._receive = receive
            self._loop = asyncio.get_running_loop()
            self._timer = self._loop.call_later(PATIENCE_SECONDS, self._begin)

    def __enter__(self) -> Departure:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> bool:
        self._over = True
        if self._exchange is not None:
            self._exchange.on_departure = None
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if not self.gone or kind is not asyncio.CancelledError or self._request is None:
            return False
        return self._request.uncancel() == 0

    def _begin(self) -> None:
        self._watch = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] == "http.request":
            pass  # of a request without a body, its end
        self._left()

    def _left(self) -> None:
        if not self._over and self._request is not None:
            self.gone = True
            self._request.cancel()
