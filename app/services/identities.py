"""Who is asking, remembered for half a second: revocation is effective within one."""

from __future__ import annotations

import time
from typing import Literal

from app.services.keys import DEFAULT_TENANT, Identity, Keys
from models.errors import Unauthorized, Unavailable

_TTL_SECONDS = 0.5
_MAX_REMEMBERED = 10_000
_OPEN = Identity(DEFAULT_TENANT, "admin")


class Identities:
    """`auto` is open until the first key exists; `open` and `keys` are what they say."""

    def __init__(self, keys: Keys, mode: Literal["auto", "open", "keys"]) -> None:
        self._keys = keys
        self._mode = mode
        self._known: dict[str, tuple[float, Identity]] = {}
        self._open_until = 0.0

    def identify(self, key: str | None) -> Identity:
        """Raises Unauthorized."""
        if self._is_open():
            return _OPEN
        if key is None:
            raise Unauthorized(
                "An API key is needed: send `Authorization: Bearer <key>`.", code="missing_api_key"
            )
        until, identity = self._known.get(key, (0.0, _OPEN))
        if until < time.monotonic():
            identity = self._asked(key)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = (time.monotonic() + _TTL_SECONDS, identity)
        return identity

    def _asked(self, key: str) -> Identity:
        """What the database says; while it is away, what it said last. Nobody can revoke then either."""
        try:
            return self._keys.identify(key)
        except Unavailable:
            if key not in self._known:
                raise
            return self._known[key][1]

    def _any(self) -> bool:
        try:
            return self._keys.any()
        except Unavailable:
            if not self._open_until:
                raise
            return False

    def _is_open(self) -> bool:
        if self._mode != "auto":
            return self._mode == "open"
        if self._open_until > time.monotonic():
            return True
        if self._any():
            self._mode = "keys"  # keys are revoked, never deleted: once asked for, always asked for
            return False
        self._open_until = time.monotonic() + _TTL_SECONDS
        return True
