"""A backbone on a GPU: in few sizes of batches, each made ready ahead, and from page-locked memory.

A convolution is planned anew for each shape it meets: MobileNetV2 took 0.7 to 1.5 s for it in float32 on an
H100, and 3 to 4 s in float16. On the way of requests that would be a hole for each number of inputs that
happens to wait. So batches are filled up to the next power of two, and all of these are run when a graph is
first used. Texts have no convolutions, and lengths of their own: they run as they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engine.pinned import Pinned, page_locked
from models.modalities.base import Prepared
from models.runtime import Backbone, Features

log = logging.getLogger(__name__)


class GpuRuns:
    """`run` and `edges` of a backbone, for batches of up to `most` inputs. Thread-safe."""

    def __init__(self, backbone: Backbone, most: int, pinned: Pinned | None = None) -> None:
        self._backbone = backbone
        self._most = most
        self._whole = backbone.card.modality != "text"
        self._pinned = pinned or Pinned(page_locked())
        self._ready: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()
        blank = backbone.blank() if self._whole else None
        if blank is not None:
            self._make_ready(blank, (backbone.card.default_tap,))

    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]:
        """Features of a batch at each tap [n, D]."""
        if self._whole:
            self._make_ready(batch[0], tuple(taps))
        return self._run(batch, taps)

    def edges(self, batch: Sequence[Prepared], tap: str) -> dict[str, NDArray[Any]]:
        """What the tails that begin at `tap` are fed, each tensor [n, ...]."""
        with self._pinned.lent() as empty:
            edges = self._backbone.edges(self._filled(batch), tap, empty)
            # The input itself may be an edge: it must not go back with the memory that was lent.
            return {name: np.array(value[: len(batch)]) for name, value in edges.items()}

    def _run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]:
        with self._pinned.lent() as empty:
            features = self._backbone.run(self._filled(batch), taps, empty)
        return {tap: values[: len(batch)] for tap, values in features.items()}

    def _filled(self, batch: Sequence[Prepared]) -> Sequence[Prepared]:
        missing = filled(len(batch)) - len(batch) if self._whole else 0
        return [*batch, *[batch[-1]] * missing] if missing else batch

    def _make_ready(self, example: Prepared, taps: tuple[str, ...]) -> None:
        """Run every size once. Who comes meanwhile waits: he would only plan the same."""
        if taps in self._ready:
            return
        with self._lock:
            if taps in self._ready:
                return
            started = time.perf_counter()
            for size in sizes(self._most):
                self._run([example] * size, taps)
            self._ready.add(taps)
        seconds = time.perf_counter() - started
        log.info("%s is ready on the GPU at %s in %.1f s", self._backbone.card.id, "+".join(taps), seconds)


def filled(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def sizes(most: int) -> list[int]:
    """The powers of two up to the one that holds `most`."""
    return [1 << i for i in range(filled(most).bit_length())]
