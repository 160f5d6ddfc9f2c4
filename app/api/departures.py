"""Clients that hang up while their request waits: it is cancelled, so that nothing is computed for nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive

PATIENCE_SECONDS = 0.5
"""Watching costs a task. A request that is answered sooner, as nearly all are even under load, never pays for
one."""


class Departure:
    """Watches one request whose body has been read, by the server's own `receive`; made in the task that
    answers it. `gone`: its client left, and it was cancelled.

    To be used as a context: it swallows the cancellation that it caused itself.
    """

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._request = asyncio.current_task()
        self._timer = self._loop.call_later(PATIENCE_SECONDS, self._begin)
        self._watch: asyncio.Task[None] | None = None
        self._over = False

    def __enter__(self) -> Departure:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> bool:
        self._over = True
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
        if not self._over and self._request is not None:
            self.gone = True
            self._request.cancel()
