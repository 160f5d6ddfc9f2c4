"""How often the kernel has killed processes of our control group for want of memory."""

from __future__ import annotations

from pathlib import Path

_OWN = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def oom_kills(own: Path = _OWN, mounted: Path = _MOUNTED) -> int:
    """The count, 0 where it cannot be seen: no Linux, or an old control group."""
    try:
        path = own.read_text().splitlines()[-1].rpartition(":")[2].lstrip("/")
        events = (mounted / path / "memory.events").read_text()
    except (OSError, IndexError):
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))
