"""The lock files: every pin with its hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = tuple(ROOT / "requirements" / f"{name}.lock" for name in ("bootstrap", "run", "dev", "torch"))

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One package at one version; `hashes` are the SHA-256 of the archives it may be installed from."""

    name: str
    version: str
    hashes: tuple[str, ...]


def read(lock: Path) -> list[Pin]:
    """Every pin of a lock file. Raises ValueError for one without a hash."""
    logical = lock.read_text("utf-8").replace("\\\n", " ").splitlines()
    pins = [_pin(line) for line in logical if line and not line.lstrip().startswith("#")]
    return [pin for pin in pins if pin is not None]


def _pin(line: str) -> Pin | None:
    match = _PIN.match(line)
    if match is None:
        return None
    hashes = tuple(_HASH.findall(line))
    if not hashes:
        raise ValueError(f"{match[1]} {match[2]} is pinned without a hash")
    return Pin(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2], hashes)
