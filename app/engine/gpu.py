"""A backbone on a GPU: a session for each of a few sizes of batches, made ready ahead, and inputs from
page-locked memory.

ONNX Runtime plans a convolution anew whenever its shape is another than the time before, and keeps no plans
(since 1.20; its issue 23006). For MobileNetV2 on an H100 that took 0.7 to 1.5 s in float32 and 3 to 4 s in
float16, so that batches as they come were served at 120 pictures a second instead of 8,000. Hence a session
sees one size alone: batches are filled up to it. Texts have no convolutions, and lengths of their own: they
run as they are, in one session.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engine.pinned import Pinned, page_locked
from models.modalities.base import Prepared
from models.runtime import Backbone, Features

_STEP = 4
_COUNT = 3
log = logging.getLogger(__name__)


def sizes(most: int) -> list[int]:
    """The sizes of batches for up to `most` inputs, ascending: fewer weights in memory, or less filling."""
    return sorted({max(1, most // _STEP**i) for i in range(_COUNT)})


def filled(batch: Sequence[Prepared], size: int) -> list[Prepared]:
    """So many, the last one again and again."""
    return [*batch, *[batch[-1]] * (size - len(batch))]


class GpuRuns:
    """`run` and `edges` of a backbone, for batches of up to `most` inputs; `again` opens it once more.
    Thread-safe."""

    def __init__(
        self, backbone: Backbone, again: Callable[[], Backbone], most: int, pinned: Pinned | None = None
    ) -> None:
        self._backbone = backbone
        self._pinned = pinned or Pinned(page_locked())
        self._ready: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()
        largest, *others = sizes(most)[::-1] if backbone.card.modality != "text" else [0]
        self._by_size = {size: again() for size in reversed(others)} | {largest: backbone}
        blank = backbone.blank() if largest else None
        if blank is not None:
            self._make_ready(blank, (backbone.card.default_tap,))

    @property
    def nbytes(self) -> int:
        """What all the sessions take."""
        return sum(backbone.nbytes for backbone in self._by_size.values())

    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]:
        """Features of a batch at each tap [n, D]."""
        size = self._size(len(batch))
        if size:
            self._make_ready(batch[0], tuple(taps))
        with self._pinned.lent() as empty:
            features = self._by_size[size].run(filled(batch, size), taps, empty)
        return {tap: values[: len(batch)] for tap, values in features.items()}

    def edges(self, batch: Sequence[Prepared], tap: str) -> dict[str, NDArray[Any]]:
        """What the tails that begin at `tap` are fed, each tensor [n, ...]."""
        size = self._size(len(batch))
        with self._pinned.lent() as empty:
            edges = self._by_size[size].edges(filled(batch, size), tap, empty)
            # The input itself may be an edge: it must not go back with the memory that was lent.
            return {name: np.array(value[: len(batch)]) for name, value in edges.items()}

    def _size(self, count: int) -> int:
        """The least that holds so many; 0 where they run as they are."""
        return next(size for size in self._by_size if size >= count or not size)

    def _make_ready(self, example: Prepared, taps: tuple[str, ...]) -> None:
        """Run every size once. Who comes meanwhile waits: he would only plan the same."""
        if taps in self._ready:
            return
        with self._lock:
            if taps in self._ready:
                return
            started = time.perf_counter()
            for size, backbone in self._by_size.items():
                backbone.run([example] * size, taps)
            self._ready.add(taps)
        seconds = time.perf_counter() - started
        log.info("%s is ready on the GPU at %s in %.1f s", self._backbone.card.id, "+".join(taps), seconds)
