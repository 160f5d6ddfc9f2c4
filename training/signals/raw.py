"""The signals themselves: the declared baseline whose tap `raw` is the resampled values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.dataset import Pack
from models.errors import JobFailed
from models.fitspec import BackboneChoice, FitSpec

RAW = "signal/raw"
TAP = "raw"


def raw_choice(spec: FitSpec) -> BackboneChoice:
    """The raw-signal baseline among a job's backbones or baselines. Raises JobFailed `no_raw_backbone`."""
    for choice in (*spec.backbones, *spec.baselines):
        if choice.id == RAW:
            return choice
    raise JobFailed(
        f"This method works on the signals themselves through the baseline {RAW}, which is not set up here.",
        code="no_raw_backbone",
    )


def signals(pack: Pack) -> NDArray[np.float64]:
    """The pack's signals on their own grid, [n, length]."""
    return np.stack([np.frombuffer(content, "<f4").astype(np.float64) for content in pack.contents])
