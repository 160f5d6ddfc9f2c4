"""What the processes of a service hold, minute by minute, and whether it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

MAX_GROWTH_MB = 100.0
MAX_SLOPE_MB = 20.0
MAX_NEW_FILES = 32
MAX_NEW_THREADS = 16
_WARM_UP = 0.15
_END = 0.15


@dataclass(frozen=True)
class Sample:
    """`seconds` since the start; of the processes that were there at the start, memory that is theirs alone.

    `lost` are those that have ended since.
    """

    seconds: float
    megabytes: float
    files: int
    threads: int
    disk_mb: float
    lost: tuple[str, ...] = ()


class Watch:
    """The service and what lives as long as it: its front-ends, engine and forkserver, not its jobs."""

    def __init__(self, service: int, data: Path) -> None:
        root = psutil.Process(service)
        self._processes = [root, *root.children(recursive=True)]
        self._data = data

    def sample(self, seconds: float) -> Sample:
        memory, files, threads, lost = 0, 0, 0, []
        for process in self._processes:
            try:
                with process.oneshot():
                    memory += process.memory_full_info().uss
                    files += process.num_fds()
                    threads += process.num_threads()
            except psutil.NoSuchProcess:
                lost.append(str(process.pid))
        return Sample(seconds, memory / 1e6, files, threads, _size(self._data) / 1e6, tuple(lost))


def _size(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_blocks * 512
        except OSError:  # it was swept meanwhile
            continue
    return found


@dataclass(frozen=True)
class Growth:
    """From the end of the warm-up to the end."""

    megabytes: float
    slope: float
    files: float
    threads: float
    disk_mb: float


def growth(samples: Sequence[Sample]) -> Growth:
    """Differences of medians, and the slope of memory in MB an hour by least squares."""
    steady = samples[int(len(samples) * _WARM_UP) :]
    part = max(1, int(len(steady) * _END))
    early, late = steady[:part], steady[-part:]

    def grown(name: str) -> float:
        ends = [float(np.median([getattr(sample, name) for sample in some])) for some in (early, late)]
        return ends[1] - ends[0]

    hours = np.array([sample.seconds for sample in steady]) / 3600
    slope = float(np.polyfit(hours, [sample.megabytes for sample in steady], 1)[0])
    return Growth(grown("megabytes"), slope, grown("files"), grown("threads"), grown("disk_mb"))


def verdict(samples: Sequence[Sample]) -> list[str]:
    """What is wrong, if anything. The slope counts where the load lasted for half an hour and more: a
    shorter one's is of the warm-up."""
    found = growth(samples)
    wrong = []
    if samples[-1].lost:
        wrong.append(f"processes ended: {', '.join(samples[-1].lost)}")
    if found.megabytes > MAX_GROWTH_MB:
        wrong.append(f"memory grew by {found.megabytes:.0f} MB")
    if samples[-1].seconds >= 1800 and found.slope > MAX_SLOPE_MB:
        wrong.append(f"memory grows by {found.slope:.0f} MB an hour")
    if found.files > MAX_NEW_FILES:
        wrong.append(f"{found.files:.0f} more files are open")
    if found.threads > MAX_NEW_THREADS:
        wrong.append(f"{found.threads:.0f} more threads run")
    return wrong
