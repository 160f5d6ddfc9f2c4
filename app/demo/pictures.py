"""Inputs as characters, so that a terminal can show what was predicted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from models.base import ModalityName

_INK = " .:-=+*#%@"
_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 60


def picture(modality: ModalityName, value: Any) -> str:
    """The input as one or more lines of text."""
    if modality == "image":
        return scan(value)
    if modality == "signal":
        return sparkline(value["values"])
    return f'"{value}"'


def scan(encoded: bytes) -> str:
    """A small grey picture, a pair of characters a pixel."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        grey = image.convert("L")
    pixels, width = grey.tobytes(), grey.width
    rows = [pixels[start : start + width] for start in range(0, len(pixels), width)]
    return "\n".join("".join(_INK[p * len(_INK) // 256] * 2 for p in row).rstrip() for row in rows)


def sparkline(values: Sequence[float]) -> str:
    """A signal as bars, each the mean of its share of the points."""
    count = min(_SPARK_WIDTH, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int((mean - low) / span * len(_BARS)))] for mean in means)
