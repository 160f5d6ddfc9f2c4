"""Who is asking, remembered for half a second: revocation is effective within one."""

from __future__ import annotations

import time
from typing import Literal

from app.services.keys import DEFAULT_TENANT, Identity, Keys
from models.errors import Unauthorized, Unavailable

_TTL_SECONDS = 0.5
_WITHOUT_DATABASE_SECONDS = 60.0
"""For so long a key goes on being right while the database is away: nothing can revoke it there either."""

_MAX_REMEMBERED = 10_000
_OPEN = Identity(DEFAULT_TENANT, "admin")


class Identities:
    """`auto` is open until the first key exists; `open` and `keys` are what they say."""

    def __init__(self, keys: Keys, mode: Literal["auto", "open", "keys"]) -> None:
        self._keys = keys
        self._mode = mode
        self._known: dict[str, tuple[float, Identity]] = {}
        self._open_until = float("-inf")

    def known(self, key: str | None) -> Identity | None:
        """Who holds this key, if that is still in memory: for the event loop, which may not wait."""
        now = time.monotonic()
        if self._mode == "open" or (self._mode == "auto" and self._open_until > now):
            return _OPEN
        seen, identity = self._known.get(key or "", (0.0, None))
        return identity if seen + _TTL_SECONDS > now else None

    def identify(self, key: str | None) -> Identity:
        """Who holds this key, by the database: for a thread. Raises Unauthorized, Unavailable."""
        if self._is_open():
            return _OPEN
        if not key:
            raise Unauthorized(
                "An API key is needed: send `Authorization: Bearer <key>`.", code="missing_api_key"
            )
        seen, before = self._known.get(key, (0.0, None))
        try:
            identity = self._keys.identify(key)
        except Unavailable:
            if before is None or seen + _WITHOUT_DATABASE_SECONDS < time.monotonic():
                raise
            return before
        except Unauthorized:
            self._known.pop(key, None)
            raise
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[key] = (time.monotonic(), identity)
        return identity

    def _is_open(self) -> bool:
        if self._mode != "auto":
            return self._mode == "open"
        now = time.monotonic()
        if self._open_until > now:
            return True
        try:
            found = self._keys.any()
        except Unavailable:
            if self._open_until + _WITHOUT_DATABASE_SECONDS < now:
                raise
            found = False
        if found:
            self._mode = "keys"  # keys are revoked, never deleted: once asked for, always asked for
            return False
        self._open_until = time.monotonic() + _TTL_SECONDS
        return True
