"""Who goes next: tenants share the lanes by the time that they use, whatever they send.

Start-time fair queueing (Goyal, Vin and Cheng 1996). Each tenant has a place in virtual time, which moves on
by what its inputs cost; the tenant that is furthest behind goes first. One that was idle begins at the
present, so that it is served at once, without credit for the past.
"""

from __future__ import annotations

from collections.abc import Hashable

_REMEMBERED = 1_024
_COMPANY_SECONDS = 1.0


class Shares:
    """The tenants' places. Costs are in milliseconds of a lane. Not thread-safe."""

    def __init__(self) -> None:
        self._now = 0.0
        self._reached: dict[str, float] = {}
        self._last: Hashable = None
        self._other_seen = float("-inf")
        self._last_seen = float("-inf")

    def saw(self, party: Hashable, now: float) -> None:
        """Someone has work: a tenant, or the background."""
        if party != self._last:
            self._last, self._other_seen = party, self._last_seen
        self._last_seen = now

    def contended(self, now: float) -> bool:
        """Whether more than one has had work within the last second."""
        return now - self._other_seen < _COMPANY_SECONDS

    def place(self, tenant: str) -> float:
        """Where the tenant stands: the least is next."""
        return max(self._now, self._reached.get(tenant, 0.0))

    def begin(self, tenant: str) -> None:
        """It is this tenant's turn: the present is where it stands."""
        self._now = self.place(tenant)

    def charge(self, tenant: str, cost: float) -> None:
        """Move a tenant on by what it has been given."""
        self._reached[tenant] = self.place(tenant) + cost
        if len(self._reached) > _REMEMBERED:
            self._reached = {name: at for name, at in self._reached.items() if at > self._now}
