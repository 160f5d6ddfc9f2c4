"""Around everything, plain ASGI: counts and times requests, and lets connections go when the service ends."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.gate import READ_ONLY
from app.logs import REQUEST
from app.services.health import Health
from app.services.requests import Requests
from app.tracing import TRACING

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_QUIET = frozenset({"GET", "HEAD", "OPTIONS"})
_UNROUTED = "none"
log = logging.getLogger(__name__)


class Observe:
    """The outermost layer. Labels are route templates, never paths; a request that changes something, and one
    that failed by a fault of ours, is a line of the log."""

    def __init__(self, app: ASGIApp, requests: Requests, health: Health) -> None:
        self.app = app
        self._requests = requests
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        REQUEST.set(scope)
        started = time.perf_counter()
        answer = _Answer(send, self._health)
        try:
            if TRACING.on:
                await self._traced(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            route, method = _route(scope), scope["method"]
            method = method if method in _METHODS else "OTHER"
            self._requests.add(route, method, answer.status, seconds)
            if answer.status >= 500 or not (method in _QUIET or _is_read(route)):
                _log(route, method, answer.status, seconds)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = dict(scope["headers"]).get(b"traceparent")
        parent = {"traceparent": sent.decode("latin-1")} if sent else None
        with TRACING.span("request", parent) as span:
            await self.app(scope, receive, send)
            span.update_name(f"{scope['method']} {_route(scope)}")


def _route(scope: Scope) -> str:
    """The template of the route that answered, such as `/v1/files/{file_id}`."""
    route = scope.get("route")
    return _UNROUTED if route is None else str(route.path)


def _is_read(route: str) -> bool:
    return route in READ_ONLY or route.endswith("/infer")


def _log(route: str, method: str, status: int, seconds: float) -> None:
    fields = {"route": route, "method": method, "status": status, "ms": round(seconds * 1_000, 1)}
    log.info("request", extra={"fields": fields})


class _Answer:
    """`send`, remembering the status. 499, as others have it, where nobody was left to be answered."""

    __slots__ = ("_health", "_send", "status")

    def __init__(self, send: Send, health: Health) -> None:
        self._send = send
        self._health = health
        self.status = 499

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._health.stopping:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await self._send(message)
