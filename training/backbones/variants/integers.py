"""Weights as signed integers with one scale a channel.

Seven bits where the weights meet 8-bit activations in a matrix product: on processors without VNNI two
neighbouring products are added in 16 bits, and 2 x 255 x 63 still fits there. So every processor gives the
same integers, where full 8-bit weights saturate on some (docs/backbones.md has what that costs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.backbones.variants.rewrite import Floats

SEVEN, EIGHT = 63, 127
SMALLEST = np.float32(1e-12)  # scale of a channel of zeros


def scales(weight: Floats, axis: int, top: int) -> Floats:
    """The step of each channel, [channels]: its largest absolute weight becomes `top`."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    return np.asarray(np.maximum(np.abs(weight).max(axis=others) / np.float32(top), SMALLEST), np.float32)


def rounded(weight: Floats, step: Floats, axis: int, top: int) -> NDArray[np.int8]:
    """Each weight as the nearest multiple of its channel's step."""
    steps = np.round(weight / along(step, axis, weight.ndim))
    return np.clip(steps, -top, top).astype(np.int8)


def along(values: Floats, axis: int, rank: int) -> Floats:
    """A vector shaped to broadcast along one axis of `rank`."""
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])
