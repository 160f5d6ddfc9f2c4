"""What Uvicorn calls: requests go straight to our layers, past the framework's entrance.

That has nothing to do for them here but to look for its own telemetry in the environment, each time; nor has
Uvicorn's for proxies, but where a proxy has said something.
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_FORWARDED = b"x-forwarded-"


class Entrance:
    """Wraps the app. Proxies are believed as Uvicorn believes them: those of
    `FORWARDED_ALLOW_IPS`, 127.0.0.1 unless it says otherwise."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._layers: ASGIApp = app.middleware_stack or app.build_middleware_stack()
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
        self._proxied = ProxyHeadersMiddleware(self._layers, trusted_hosts=trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        for name, _ in scope["headers"]:
            if name.startswith(_FORWARDED):
                await self._proxied(scope, receive, send)  # type: ignore[arg-type]
                return
        await self._layers(scope, receive, send)
