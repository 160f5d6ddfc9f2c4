"""The routes that must be fast, answered before the framework's routing and dependencies (docs/adr/0010).

The same functions stand behind the ordinary routes, which describe them on the API page and serve what is
not plain here: another method, another spelling of the path, a body that does not validate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import faults, oip, predictions
from app.api.bodies import replayed
from app.services.container import Services
from models.errors import DurianError

Handler = Callable[[Services, str, Request], Awaitable[Response | None]]
"""From the services, the tenant and the request to an answer; None where the ordinary route is to answer."""


@dataclass(frozen=True)
class Shortcut:
    """In the place of the framework's route, for whoever asks a scope which route it took."""

    path: str
    handler: Handler


_EXACT = {
    "/v1/predictions": Shortcut("/v1/predictions", predictions.predict),
    "/v1/embeddings": Shortcut("/v1/embeddings", predictions.embed_plain),
}
_INFER = Shortcut("/v2/models/{ref}/infer", oip.infer_plain)


class Quick:
    """Wraps the app, inside the gate: who asks is known, and the body is bounded."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shortcut = _shortcut(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if shortcut is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = shortcut
        request = Request(scope, receive)
        try:
            response = await shortcut.handler(self.services, scope["state"]["tenant"], request)
        except DurianError as error:
            response = faults.durian(request, error)
        except HTTPException as error:
            response = faults.http(request, error)
        if response is None:
            await self.app(scope, replayed(await request.body(), receive), send)
        else:
            await response(scope, receive, send)


def _shortcut(scope: Scope) -> Shortcut | None:
    path: str = scope["path"]
    found = _EXACT.get(path)
    return _INFER if found is None and oip.INFER.fullmatch(path) else found
