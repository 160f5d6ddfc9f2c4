"""The outermost layer, plain ASGI: request id, body limit, identity. Nothing gets past it unknown.

It runs before routing, so a route cannot be forgotten: every path but the open ones needs an
identity, and every method that writes needs a role that may.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.departures import Departure
from app.errors import body_of, headers_of, status_of
from app.services.keys import Identity
from models.errors import DurianError, Forbidden, InvalidRequest, TooLarge, UnsupportedMedia

log = logging.getLogger(__name__)

OPEN = frozenset({"/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that say nothing of any tenant: probes reach them without a key."""

READ_ONLY = frozenset({"/v1/predictions", "/v1/embeddings", "/v1/recommendations", "/v2/repository/index"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_UPLOADS = ("/v1/files", "/v1/datasets", "/v1/models")

Identify = Callable[[str | None], Identity]
"""From the key sent, if any, to who is asking. Raises Unauthorized."""


class Gate:
    """Wraps the app. `max_upload` bounds bodies of upload routes, `max_body` all others, in bytes."""

    def __init__(self, app: ASGIApp, identify: Identify, max_body: int, max_upload: int) -> None:
        self.app = app
        self.identify = identify
        self.max_body = max_body
        self.max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        try:
            headers = Headers(scope=scope)
            self._admit(scope, headers)
            limit = self.max_upload if scope["path"].startswith(_UPLOADS) else self.max_body
            await self._pass(scope, _limited(receive, headers, limit), answer)
        except DurianError as error:
            await refuse(scope, answer, error)
        except Exception:
            log.exception("%s %s broke", scope["method"], scope["path"])
            if answer.started:
                raise  # half an answer is out: only closing the connection tells the truth
            await refuse(scope, answer, DurianError("Something broke inside the service.", code="internal"))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _computes(scope["path"]):
            await self.app(scope, receive, send)
            return
        with Departure(receive) as departure:
            await self.app(scope, departure.receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        if headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedMedia("Compressed bodies are not read; send the body as it is.")
        if scope["path"] in OPEN:
            return
        identity = self.identify(_key(headers))
        if not identity.may_write() and _writes(scope["method"], scope["path"]):
            raise Forbidden("This key may read and predict, not write; ask for a writer's key.")
        scope["state"]["tenant"] = identity.tenant


def _key(headers: Headers) -> str | None:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def _writes(method: str, path: str) -> bool:
    return method not in _SAFE_METHODS and path not in READ_ONLY and not path.endswith("/infer")


def _computes(path: str) -> bool:
    """Whether a request is only work for the engine, which may be dropped when its client has gone."""
    return path in ("/v1/predictions", "/v1/embeddings") or path.endswith("/infer")


def _limited(receive: Receive, headers: Headers, limit: int) -> Receive:
    """`receive`, refusing a body that says it is, or turns out to be, over `limit` bytes."""
    too_large = TooLarge(f"The body is larger than the {limit} bytes allowed here.")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise InvalidRequest("The Content-Length header is not a number.")
    if int(length) > limit:
        raise too_large
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise too_large
        return message

    return limited


class _Answer:
    """`send`, adding the headers that every answer has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)


async def refuse(scope: Scope, send: Send, error: DurianError) -> None:
    """Answer with an error, in the shape of the path's protocol."""
    status = status_of(error)
    body: dict[str, Any] = body_of(error, status, scope["path"], scope["state"]["request_id"])
    headers = {"content-type": "application/json", **headers_of(error)}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})
