"""Requests per second, a tenant: one token bucket each, in memory."""

from __future__ import annotations

import math
import time

from models.errors import RateLimited


class Rates:
    """`per_second` in the long run, as many at once; 0: no limit. Not thread-safe: the event loop's own."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._burst = max(per_second, 1.0)
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str) -> None:
        """Count one request. Raises RateLimited when the tenant had too many."""
        if not self.per_second:
            return
        now = time.monotonic()
        left, seen = self._left.get(tenant, (self._burst, now))
        left = min(self._burst, left + (now - seen) * self.per_second)
        if left < 1:
            raise RateLimited(
                f"More than the {self.per_second:g} requests a second that this tenant has.",
                code="requests_per_second",
                retry_after=math.ceil((1 - left) / self.per_second),
            )
        self._left[tenant] = (left - 1, now)
