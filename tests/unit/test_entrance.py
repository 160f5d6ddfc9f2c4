"""The way from the server to our layers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from app.api.entrance import Entrance


def asked(headers: list[tuple[bytes, bytes]], client: str = "127.0.0.1") -> dict[str, Any]:
    """The scope that the layers see."""
    seen: list[dict[str, Any]] = []

    async def layers(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    app = FastAPI()
    app.middleware_stack = layers
    scope = {"type": "http", "headers": headers, "client": (client, 1), "scheme": "http"}
    asyncio.run(Entrance(app)(scope, None, None))  # type: ignore[arg-type]
    assert seen[0]["app"] is app
    return seen[0]


FORWARDED = [(b"x-forwarded-for", b"10.9.8.7"), (b"x-forwarded-proto", b"https")]


def test_a_request_comes_as_it_is() -> None:
    scope = asked([(b"host", b"t")])
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_a_proxy_beside_it_is_believed_and_no_other() -> None:
    scope = asked(FORWARDED)
    assert (scope["client"][0], scope["scheme"]) == ("10.9.8.7", "https")
    scope = asked(FORWARDED, "192.0.2.1")
    assert (scope["client"][0], scope["scheme"]) == ("192.0.2.1", "http")


def test_others_are_believed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.0/24")
    assert asked(FORWARDED, "192.0.2.1")["client"][0] == "10.9.8.7"


def test_the_rest_is_the_frameworks() -> None:
    lived = []
    app = FastAPI()

    async def receive() -> Any:
        return {"type": "lifespan.startup" if not lived else "lifespan.shutdown"}

    async def send(message: Any) -> None:
        lived.append(message["type"])

    asyncio.run(Entrance(app)({"type": "lifespan", "app": app, "state": {}}, receive, send))
    assert lived == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
