"""Who is asking, remembered for a moment: revocation is effective within a second.

An answer that ages is asked for anew beside the requests that it still serves, so that who asks often never
waits for the database. While that does not answer, a key that was right goes on being right for a minute:
predictions need no database, and nothing can be revoked without it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from app.services.keys import DEFAULT_TENANT, Identity, Keys
from models.errors import Unauthorized, Unavailable

_FRESH_SECONDS = 0.4
_STALE_SECONDS = 0.8
"""Up to this age an answer serves while it is asked for anew."""

_SLOW_SECONDS = 0.2
"""A database that takes longer is away."""

_TIMES, _AGAIN_SECONDS = 12, 0.02
"""So often one is asked after of whom there is nothing in memory to go by: for the best part of a second
where the database is locked."""

_AWAY_SECONDS = 60.0
_MAX_REMEMBERED = 10_000
_OPEN = Identity(DEFAULT_TENANT, "admin")
_ANYBODY = ""
"""Stands for every key while the service is open."""


@dataclass(frozen=True)
class _Known:
    identity: Identity
    since: float


class Identities:
    """`auto` is open until the first key exists; `open` and `keys` are what they say."""

    def __init__(self, keys: Keys, mode: Literal["auto", "open", "keys"]) -> None:
        self._keys = keys
        self._mode = mode
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, float] = {}
        self._away = False
        self._renewing: set[str] = set()
        self._renewals = ThreadPoolExecutor(1, thread_name_prefix="identities")

    def known(self, key: str | None) -> Identity | None:
        """Who holds this key, if that is still in memory: for the event loop, which may not wait."""
        if self._mode == "open":
            return _OPEN
        name = self._name(key)
        known = self._known.get(name)
        if known is None:
            return None
        now = time.monotonic()
        age = now - known.since
        if age >= self._tolerated(name, now):
            return None
        if age >= _FRESH_SECONDS and name not in self._asking and name not in self._renewing:
            self._renewing.add(name)
            self._renewals.submit(self._renew, name, key)
        return known.identity

    def _tolerated(self, name: str, now: float) -> float:
        """Up to which age an answer serves."""
        asked = self._asking.get(name)
        if asked is None:
            return _STALE_SECONDS
        return _AWAY_SECONDS if self._away or now - asked > _SLOW_SECONDS else _STALE_SECONDS

    def _renew(self, name: str, key: str | None) -> None:
        try:
            with suppress(Unauthorized, Unavailable):  # who asks next hears it
                self.identify(key)
        finally:
            self._renewing.discard(name)

    def identify(self, key: str | None) -> Identity:
        """Who holds this key, by the database: for a thread. Raises Unauthorized, Unavailable."""
        if self._mode == "open":
            return _OPEN
        name = self._name(key)
        self._asking.setdefault(name, time.monotonic())
        try:
            identity = self._ask_again(key, name)
        except Unavailable:
            self._away = True
            known = self._known.get(name)
            if known is None or time.monotonic() - known.since > _AWAY_SECONDS:
                raise
            return known.identity
        except Unauthorized:
            self._known.pop(name, None)
            raise
        finally:
            self._asking.pop(name, None)
        self._away = False
        self._remember(_ANYBODY if identity is _OPEN else key or "", identity)
        return identity

    def _ask_again(self, key: str | None, name: str) -> Identity:
        """`_ask`; of whom nothing is known yet, until somebody's commit is over."""
        for _ in range(_TIMES - 1):
            try:
                return self._ask(key)
            except Unavailable:
                if name in self._known:
                    raise
            time.sleep(_AGAIN_SECONDS)
        return self._ask(key)

    def _name(self, key: str | None) -> str:
        return _ANYBODY if self._mode == "auto" else key or ""

    def _ask(self, key: str | None) -> Identity:
        if self._mode == "auto":
            if not self._keys.any():
                return _OPEN
            self._mode = "keys"  # keys are revoked, never deleted: once asked for, always asked for
        if not key:
            raise Unauthorized(
                "An API key is needed: send `Authorization: Bearer <key>`.", code="missing_api_key"
            )
        return self._keys.identify(key)

    def _remember(self, name: str, identity: Identity) -> None:
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[name] = _Known(identity, time.monotonic())
