"""How many batches a GPU should run at a time, found out on the device itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PROBE_SECONDS = 0.2
MOST = 2
_GAIN = 1.1
"""A second stream must do so much more: it doubles the working memory, and the time of a batch."""


def probed_streams(run: Callable[[], object], seconds: float = PROBE_SECONDS) -> int:
    """1, or 2 where two threads that `run` a batch again and again get enough more of them done.

    What `run` raises is raised.
    """
    run()  # kernels are chosen on the first run of a size
    return MOST if _rate(run, MOST, seconds) > _GAIN * _rate(run, 1, seconds) else 1


def _rate(run: Callable[[], object], threads: int, seconds: float) -> float:
    """Runs a second by so many threads."""
    end = time.perf_counter() + seconds
    counts, failures = [0] * threads, list[Exception]()

    def work(place: int) -> None:
        try:
            while time.perf_counter() < end:
                run()
                counts[place] += 1
        except Exception as error:
            failures.append(error)

    crew = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    started = time.perf_counter()
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) / (time.perf_counter() - started)
