"""Whether the device still computes. An error in a CUDA kernel poisons its context: every later run in the
process fails, or worse. So after a failure a batch that is known is run again.

Only a GPU is put to the test: on a CPU a run that fails says nothing of the next one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.engine.trunks import Trunk
from models.modalities.base import Prepared
from models.runtime import Features

TOLERANCE = 0.02
"""Of the largest feature: half precision and the choice of kernels by batch size stay below it."""

PATIENCE = 3
"""Failures in a row of a backbone that has never run: it may be the backbone."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Song:
    """One input that ran, with its features [D] at a tap."""

    prepared: Prepared
    tap: str
    features: Features


class Canary:
    """Keeps the first good input of each backbone. `lost` is called once, when the device is."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self.dead = False
        self._lost = lost
        self._songs: dict[str, _Song] = {}
        self._failures: dict[str, int] = {}
        self._lock = threading.Lock()

    def heard(self, trunk: Trunk, prepared: Prepared, tap: str, features: Features) -> bool:
        """A batch ran, with this as its first input; True when it was the backbone's first on a GPU.

        Raises ArithmeticError if that gave what is not finite.
        """
        if trunk.device == "cpu" or trunk.digest in self._songs:
            return False
        if not np.isfinite(features).all():
            raise ArithmeticError("the features of a first batch are not finite")
        self._songs[trunk.digest] = _Song(prepared, tap, features.copy())
        self._failures.pop(trunk.digest, None)
        return True

    def failed(self, trunk: Trunk) -> None:
        """A batch did not run: find out whether the device is to blame."""
        if trunk.device != "cpu" and trunk.digest not in self._songs:
            with self._lock:
                self._failures[trunk.digest] = self._failures.get(trunk.digest, 0) + 1
        self.sings(trunk)

    def sings(self, trunk: Trunk) -> bool:
        """Whether the device still gives what it gave. True on a CPU, which is never lost."""
        if trunk.device == "cpu":
            return True
        with self._lock:
            if not self.dead and not self._sings(trunk):
                self.dead = True
                log.critical("the %s device no longer computes: nothing more is served by it", trunk.device)
                self._lost()
            return not self.dead

    def _sings(self, trunk: Trunk) -> bool:
        song = self._songs.get(trunk.digest)
        if song is None:
            return self._failures.get(trunk.digest, 0) < PATIENCE
        try:
            (again,) = trunk.run([song.prepared], [song.tap])[song.tap]
        except Exception:
            log.exception("the canary batch failed")
            return False
        return _alike(again, song.features)


def _alike(got: Features, expected: Features) -> bool:
    limit = TOLERANCE * float(np.abs(expected).max())
    return bool((np.abs(got - expected) <= limit).all())  # false for NaN
