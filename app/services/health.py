"""What does not work as it should, by name: for `/v2/health/ready` and the metrics.

A thread looks every two seconds; who asks reads what it found from memory, so the answer comes at once when
the database hangs. Reasons are few and fixed: they are label values too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from app.services.periodic import Periodic
from models.errors import DurianError

REASONS = (
    "artefact_corrupt",  # a published artefact is damaged or gone; what is in memory goes on serving
    "cuda_unavailable",  # CUDA is there, and ONNX Runtime fell back to the CPU
    "database",  # locked or away: nothing can be written, predictions go on
    "inference_hangs",  # a graph runs for longer than any request may wait: not ready
    "device_lost",  # the GPU fails or answers wrongly: not ready
    "disk_full",  # uploads and jobs are refused with 507, predictions go on
    "job_queue_full",  # a tenant has as many jobs waiting as are allowed
    "stopping",  # told to end: not ready, open requests are answered
    "storage_failed",  # an fsync failed: nothing is stored until a restart
)
_FATAL = frozenset({"device_lost", "inference_hangs", "stopping"})
_EVERY_SECONDS = 2.0
Source = Callable[[], Iterable[str]]
log = logging.getLogger(__name__)


class Health:
    """`probes` may take a while and are asked by the thread; `notes` are read whenever somebody asks."""

    def __init__(self, probes: Iterable[Source], notes: Iterable[Source]) -> None:
        self.stopping = False
        self._probes = tuple(probes)
        self._notes = tuple(notes)
        self._found: frozenset[str] = frozenset()
        rounds = Periodic("health", self.look, _EVERY_SECONDS)
        self.start, self.close = rounds.start, rounds.close

    def degraded(self) -> list[str]:
        """Reasons that hold now, in order."""
        noted = {reason for note in self._notes for reason in note()}
        told = {"stopping"} if self.stopping else set()
        return sorted(self._found | noted | told)

    @property
    def fit(self) -> bool:
        """Whether predictions are answered in spite of all."""
        return not _FATAL.intersection(self.degraded())

    def look(self) -> None:
        """Ask every probe. What one cannot tell is left to another: the database has its own."""
        found: set[str] = set()
        for probe in self._probes:
            try:
                found.update(probe())
            except DurianError as error:
                found.update({error.code}.intersection(REASONS))
        for reason in sorted(found ^ self._found):
            log.warning("%s %s", "degraded:" if reason in found else "recovered:", reason)
        self._found = frozenset(found)
