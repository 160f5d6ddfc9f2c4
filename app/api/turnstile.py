"""Refusing for the load alone, by the head of a request: under overload most of what comes is refused, and
that must cost next to nothing, or it takes the time of those who are served (docs/adr/0019)."""

from __future__ import annotations

import logging
import time

from app.api.bodies import predicts
from app.api.gate import Doorman, key_of
from app.api.load import Load
from app.services.requests import Requests
from models.errors import Unavailable

_SAID_EVERY_SECONDS = 1.0
log = logging.getLogger(__name__)


class Turnstile:
    """Asked before anything else is done for a request. Not thread-safe: the event loop's own."""

    def __init__(self, doorman: Doorman, load: Load, requests: Requests) -> None:
        self._doorman = doorman
        self._load = load
        self._requests = requests
        self._said = float("-inf")
        self._refused = 0

    def refusal(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> Unavailable | None:
        """What the gate would answer, if it is to refuse a request with this head for the load alone.

        None where it may do otherwise: also where only the database knows who is asking.
        """
        if method != "POST" or not predicts(path):
            return None
        identity = self._doorman.known(key_of(dict(headers)))
        if identity is None:
            return None
        try:
            self._load.check(identity.tenant)
        except Unavailable as error:
            self._count(path)
            return error
        return None

    def _count(self, path: str) -> None:
        """With the requests; and a line of the log a second, not one each."""
        self._requests.add("/v2/models/{ref}/infer" if path.startswith("/v2") else path, "POST", 503, 0.0)
        self._refused += 1
        now = time.monotonic()
        if now - self._said > _SAID_EVERY_SECONDS:
            log.warning("refused %d requests: more than can be done", self._refused)
            self._said, self._refused = now, 0
