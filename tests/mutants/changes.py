"""What is done to a sound file; mutant i is the same in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Seed = tuple[str, bytes]
"""A file's name ("" for one encoded picture or clip), and its content."""


def mutant(index: int, originals: Sequence[Seed]) -> Seed:
    """The mutant of that number: one to four changes of one original."""
    rng = np.random.default_rng(index)
    name, data = originals[index % len(originals)]
    for _ in range(rng.integers(1, 5)):
        data = _CHANGES[rng.integers(len(_CHANGES))](rng, data or b"\0")
    return name, data


def _flip(rng: Any, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]


def _scramble(rng: Any, data: bytes) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        changed[at] = int(rng.integers(256))
    return bytes(changed)


def _cut(rng: Any, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _drop(rng: Any, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 33)) :]


def _repeat(rng: Any, data: bytes) -> bytes:
    start, at = (int(x) for x in rng.integers(len(data), size=2))
    return data[:at] + data[start : start + int(rng.integers(1, 65))] * int(rng.integers(1, 9)) + data[at:]


def _number(rng: Any, data: bytes) -> bytes:
    """A length, a count or an offset at its limits, where most formats have theirs: near the start."""
    size, order = (1, 2, 4)[rng.integers(3)], ("little", "big")[rng.integers(2)]
    at = int(rng.integers(min(len(data), 96) if rng.integers(2) else len(data)))
    value = _NUMBERS[rng.integers(len(_NUMBERS))] % 256**size
    return data[:at] + value.to_bytes(size, order) + data[at + size :]


_CHANGES: tuple[Callable[[Any, bytes], bytes], ...] = (_flip, _scramble, _cut, _drop, _repeat, _number)
