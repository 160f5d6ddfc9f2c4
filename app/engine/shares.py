"""Who goes next: tenants share the lanes by the time that they use, whatever they send.

Start-time fair queueing (Goyal, Vin and Cheng 1996). Each tenant has a place in virtual time, which moves on
by what its inputs cost; the tenant that is furthest behind goes first. One that was idle begins at the
present, so that it is served at once, without credit for the past.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from itertools import repeat

_REMEMBERED = 1_024
_COMPANY_SECONDS = 1.0

_LATELY = 256
"""Over so many inputs of late is compared what tenants have used."""

_LIGHT = 0.8
"""Who used less than this part of an equal share did not ask for more. Tenants that all have work waiting use
the same but for the batches of the moment."""


class Company(Enum):
    """Who else is about: nobody, others that take as much as they can get, or someone who asks for less than
    an equal share, and so waits for nothing but the steps that run."""

    NONE = auto()
    BUSY = auto()
    LIGHT = auto()


class Shares:
    """The tenants' places. Costs are in milliseconds of a lane. Not thread-safe."""

    def __init__(self) -> None:
        self._now = 0.0
        self._reached: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._lately: deque[tuple[str, float]] = deque(maxlen=_LATELY)

    def saw(self, tenant: str, now: float) -> None:
        """A tenant has work that is not of the background, at a time in seconds."""
        self._seen.pop(tenant, None)
        self._seen[tenant] = now  # the last one is the latest
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def company(self, tenant: str | None, now: float) -> Company:
        """Who else has had work within the last second where it is a tenant's turn; None: the background's,
        which comes when nobody waits, so whoever was there is light."""
        others = [other for other in self._recent(now) if other != tenant]
        if not others:
            return Company.NONE
        if tenant is None:
            return Company.LIGHT
        used = dict.fromkeys([tenant, *others], 0.0)
        for one, cost in self._lately:
            if one in used:
                used[one] += cost
        equal = sum(used.values()) / len(used)
        return Company.LIGHT if min(used.values()) < _LIGHT * equal else Company.BUSY

    def place(self, tenant: str) -> float:
        """Where the tenant stands: the least is next."""
        return max(self._now, self._reached.get(tenant, 0.0))

    def begin(self, tenant: str) -> None:
        """It is this tenant's turn: the present is where it stands."""
        self._now = self.place(tenant)

    def charge(self, tenant: str, *costs: float) -> None:
        """Move a tenant on by what inputs that it has been given cost."""
        self._reached[tenant] = self.place(tenant) + sum(costs)
        self._lately.extend(zip(repeat(tenant), costs))
        if len(self._reached) > _REMEMBERED:
            self._reached = {name: at for name, at in self._reached.items() if at > self._now}

    def _recent(self, now: float) -> Iterator[str]:
        for tenant in reversed(self._seen):
            if now - self._seen[tenant] >= _COMPANY_SECONDS:
                return
            yield tenant
