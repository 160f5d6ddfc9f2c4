"""How much memory this process may use: the machine's, or what its control group allows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_limit(mounted: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Bytes. The least of the machine's memory and the limits of all control groups around the process."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(mounted, own)])


def _cgroup_limits(mounted: Path, own: Path) -> Iterator[int]:
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: one tree for all
            yield from _limits(mounted, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits(mounted / "memory", path, "memory.limit_in_bytes")


def _limits(top: Path, path: str, name: str) -> Iterator[int]:
    """From the process's own group up. In a container only the top may be there: it is the container's."""
    here = top / path.lstrip("/")
    for folder in (here, *here.parents):
        text = _read(folder / name).strip()
        if text.isdigit():  # "max" is no limit
            yield int(text)
        if folder == top:
            break


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # no Linux, or a group that cannot be seen from here
        return ""
