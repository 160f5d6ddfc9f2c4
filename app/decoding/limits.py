"""What a child may take."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

BYTES_A_SECOND = 4_000_000
"""What a file is parsed at, at the least, beside its media: CSV in Python runs at several times this."""

_FILES = 64


@dataclass(frozen=True)
class Limits:
    """`memory` bytes beyond what a fresh child has; `seconds` of CPU for each encoded picture or clip."""

    memory: int
    seconds: float

    def parsing(self, size: int) -> float:
        """Seconds of CPU for a file of so many bytes, until the first of its media or between two of them."""
        return self.seconds + size / BYTES_A_SECOND


def bound(memory: int) -> None:
    """Bound this process for good: address space beyond what it has, no file written, no core dumped."""
    bounds = {
        resource.RLIMIT_AS: _address_space() + memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _FILES,
    }
    for what, most in bounds.items():
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Most bytes that this process has had in memory at a time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def allow(seconds: float) -> None:
    """Have the kernel end this process when it has taken so much CPU from now on; 0 for no limit.

    SIGPROF is left to its default action: a decoder that hangs never comes back to Python.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
