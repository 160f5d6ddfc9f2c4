"""The fast routes: what is plain is answered before the framework, all else reaches it unchanged."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import pytest
from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from app.api import deps, oip, quick
from models.errors import NotFound, RateLimited

Reached = list[tuple[str, bytes]]


def ask(path: str, method: str = "POST", body: bytes = b"{}") -> tuple[list[Message], Reached]:
    """What was sent, and what reached the app behind."""
    sent: list[Message] = []
    reached: Reached = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append((scope["path"], await Request(scope, receive).body()))

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    state = {"tenant": "acme", "request_id": "abc"}
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "state": state}
    asyncio.run(quick.Quick(app, services=None)({**scope, "query_string": b""}, receive, send))
    return sent, reached


async def answered(services: Any, tenant: str, request: Request) -> Response:
    return Response(tenant.encode() + await request.body())


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quick._EXACT, "/v1/predictions", quick.Shortcut("/v1/predictions", answered))


def test_the_handler_answers_and_nothing_reaches_the_app() -> None:
    sent, reached = ask("/v1/predictions", body=b"!")
    assert (sent[0]["status"], sent[1]["body"], reached) == (200, b"acme!", [])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/predictions"), ("POST", "/v1/predictions/"), ("POST", "/v2/models/a/b/infer")],
)
def test_what_is_not_plain_reaches_the_app(method: str, path: str) -> None:
    assert ask(path, method) == ([], [(path, b"{}")])


def test_a_body_that_does_not_validate_is_read_again_by_the_app() -> None:
    body = b'{"model": 3}'
    assert ask("/v1/embeddings", body=body) == ([], [("/v1/embeddings", body)])


def test_errors_have_the_shape_and_headers_of_other_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(services: Any, tenant: str, request: Request) -> Response:
        raise RateLimited("Too many.", code="queue_full")

    monkeypatch.setitem(quick._EXACT, "/v1/predictions", quick.Shortcut("/v1/predictions", refuse))
    start, body = ask("/v1/predictions")[0]
    error = json.loads(body["body"])["error"]
    assert (start["status"], error["code"], error["request_id"]) == (429, "queue_full", "abc")
    assert b"retry-after" in dict(start["headers"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/models/m@live/infer", {"ref": "m@live", "version": None}),
        ("/v2/models/m/versions/3/infer", {"ref": "m", "version": "3"}),
    ],
)
def test_infer_is_found_by_its_path(path: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    async def infer(
        request: Request, serving: object, tenant: str, ref: str, version: str | None
    ) -> Response:
        seen.append({"ref": ref, "version": version})
        raise NotFound("No such model.")

    class Services:
        serving = None

    monkeypatch.setattr(oip, "infer", infer)
    request = Request({"type": "http", "path": path})
    response = asyncio.run(oip.infer_plain(Services(), "acme", request))
    assert seen == [expected]
    assert (response.status_code, response.body) == (404, b'{"error":"No such model."}')


def test_dependencies_take_no_thread() -> None:
    dependencies = (deps.services, deps.tenant, oip._serving, oip._tenant)
    assert all(inspect.iscoroutinefunction(one) for one in dependencies)
