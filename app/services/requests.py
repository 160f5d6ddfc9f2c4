"""How many requests came, by route, method and status, and how long they took."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import HistogramMetricFamily

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds."""

Key = tuple[str, str, int]


class Requests:
    """`add` is for the event loop's thread; it costs about a microsecond."""

    def __init__(self) -> None:
        self._counts: dict[Key, list[int]] = {}
        self._sums: dict[Key, float] = {}

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        key = (route, method, status)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * (len(BUCKETS) + 1)
            self._sums[key] = 0.0
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[key] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """One family: `durian_request_seconds`."""
        family = HistogramMetricFamily(
            "durian_request_seconds",
            "Requests by route template, method and status, with the time to the end of the answer",
            labels=["route", "method", "status"],
        )
        for (route, method, status), counts in list(self._counts.items()):
            total, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([route, method, str(status)], buckets, self._sums[route, method, status])
        yield family
