"""The outermost layer, plain ASGI: request id, identity, quota, load, body. Nothing gets past it unknown.

It runs before routing, so a route cannot be forgotten: every path but the open ones needs an
identity, and every method that writes needs a role that may.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.bodies import Bodies, predicts
from app.api.departures import Departure
from app.api.load import Load
from app.db.audit import Actor, acting
from app.errors import body_of, headers_of, status_of
from app.services.ids import request_id
from app.services.keys import Identity
from app.services.rates import Rates
from models.errors import DurianError, Forbidden, InvalidRequest

log = logging.getLogger(__name__)

OPEN = frozenset({"/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that say nothing of any tenant: probes reach them without a key, under any load."""

READ_ONLY = frozenset({"/v1/predictions", "/v1/embeddings", "/v1/recommendations", "/v2/repository/index"})
ADMINS = ("/v1/audit",)
"""What only an admin's key opens."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Fields = Mapping[bytes, bytes]
"""A request's headers by their names in lower case."""


class Doorman(Protocol):
    """Says who holds a key: `known` from memory, `identify` by the database (for a thread), which raises
    Unauthorized."""

    def known(self, key: str | None) -> Identity | None: ...
    def identify(self, key: str | None) -> Identity: ...


class Gate:
    """Wraps the app."""

    def __init__(self, app: ASGIApp, doorman: Doorman, bodies: Bodies, rates: Rates, load: Load) -> None:
        self.app = app
        self.doorman = doorman
        self.bodies = bodies
        self.rates = rates
        self.load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        name = request_id()
        scope.setdefault("state", {})["request_id"] = name
        answer = _Answer(send, name)
        try:
            await self._serve(scope, receive, answer)
        except DurianError as error:
            if answer.started:
                raise
            await refuse(scope, answer, error)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception:
            log.exception("a %s request broke", scope["method"])
            if answer.started:
                raise  # half an answer is out: only closing the connection tells the truth
            await refuse(scope, answer, DurianError("Something broke inside the service.", code="internal"))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        fields: Fields = dict(scope["headers"])
        identity = await self._admit(scope, fields)
        if not predicts(scope["path"]):
            await self.app(scope, await self.bodies.checked(scope, fields, receive), send)
            return
        self.load.check(identity.tenant)
        read = await self.bodies.checked(scope, fields, receive)
        place = self.load.enter(identity.tenant)
        try:
            with Departure(scope, receive):
                await self.app(scope, read, send)
        finally:
            self.load.leave(place)

    async def _admit(self, scope: Scope, fields: Fields) -> Identity:
        key = key_of(fields)
        identity = self.doorman.known(key)
        if identity is None:
            identity = await run_sync(self.doorman.identify, key)
        path, writes = scope["path"], _writes(scope["method"], scope["path"])
        if writes and not identity.may_write():
            raise Forbidden("This key may read and predict, not write; ask for a writer's key.")
        if path.startswith(ADMINS) and identity.role != "admin":
            raise Forbidden("Only an admin's key opens this.")
        self.rates.take(identity.tenant)
        if "\0" in path or b"%00" in scope["query_string"]:
            raise InvalidRequest("The address holds a NUL character.", code="bad_text")
        scope["state"]["tenant"] = identity.tenant
        if writes:
            acting.set(_actor(scope, identity))
        return identity


def _actor(scope: Scope, identity: Identity) -> Actor:
    client = scope.get("client")
    return Actor(
        tenant=identity.tenant,
        key=identity.key,
        address=client[0] if client else "",
        method=scope["method"],
        request_id=scope["state"]["request_id"],
    )


def key_of(fields: Fields) -> str | None:
    """The API key in a request's headers, by either scheme."""
    scheme, _, value = fields.get(b"authorization", b"").partition(b" ")
    found = value.strip() if scheme.lower() == b"bearer" else fields.get(b"x-api-key")
    return None if found is None else found.decode("latin-1")


def _writes(method: str, path: str) -> bool:
    return method not in _SAFE_METHODS and path not in READ_ONLY and not path.endswith("/infer")


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
    content = orjson.dumps(body)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        **headers_of(error),
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
