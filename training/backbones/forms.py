"""The two forms of a pooled tap: `<name>` is the mean over space, time or tokens, `<name>_stat` the mean and
then the standard deviation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from models.runtime import Features

_STAT = "_stat"
_SAME = 1e-5


def stat(name: str) -> str:
    """The name of a place's second form."""
    return name + _STAT


def place_of(name: str) -> str:
    """The place that a tap of either form pools."""
    return name.removesuffix(_STAT)


def width(name: str, channels: int) -> int:
    """Numbers in a tap of a place of so many channels."""
    return 2 * channels if name.endswith(_STAT) else channels


def both_forms(prefix: str, steps: Iterable[int]) -> list[str]:
    """The taps `<prefix>_<step>` of each step, from the bottom to the top."""
    return [name for step in steps for name in (f"{prefix}_{step}", stat(f"{prefix}_{step}"))]


def distinct(features: Mapping[str, Features], top: str) -> dict[str, Features]:
    """Without the taps that are the top one already, as the last stage's mean is in a ResNet."""
    return {name: rows for name, rows in features.items() if name == top or not _same(rows, features[top])}


def _same(one: Features, other: Features) -> bool:
    return one.shape == other.shape and np.allclose(one, other, _SAME, _SAME * np.abs(other).max())
