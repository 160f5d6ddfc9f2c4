"""A backbone in the making, and the gate that it must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.backbone import Preprocess, Tap
from models.modalities.base import Prepared
from models.runtime import Backbone, Features
from training.backbones.parity import check_parity

TOLERANCE = 1e-4  # of the largest value of a tap, or of 1 where that is less
DEPTHS = 6


@dataclass(frozen=True)
class Draft:
    """All that a backbone is but its name; with examples, and what the original makes of each alone."""

    files: dict[str, bytes]
    preprocess: Preprocess
    input: str
    taps: tuple[Tap, ...]
    parameters: int
    examples: Sequence[Prepared]
    expected: dict[str, Features]


def levels(layers: int) -> list[int]:
    """The hidden states below the last one that become taps: all, or `DEPTHS` evenly spread ones."""
    return (
        sorted({round(i * layers / DEPTHS) for i in range(DEPTHS)}) if layers > DEPTHS else [*range(layers)]
    )


def list_taps(expected: Mapping[str, Features], steps: Sequence[int], layers: int) -> tuple[Tap, ...]:
    """The taps of lower states `steps` of `layers`, and the top's, with the widths the original gave."""
    depths = [*(step / layers for step in steps), 1.0]
    return tuple(
        Tap(name=name, dim=values.shape[1], depth=depth)
        for (name, values), depth in zip(expected.items(), depths, strict=True)
    )


def prove(folder: Path, draft: Draft) -> float:
    """The largest difference of any tap from the original, relative to the tap's scale.

    The backbone runs on all examples in one batch (of mixed lengths where they have lengths) and on each
    alone. Raises CorruptArtefact (code `parity`) where either differs by more than `TOLERANCE`.
    """
    backbone = Backbone(folder)
    names = [tap.name for tap in draft.taps]
    together = backbone.run(draft.examples, names)
    alone = [backbone.run([example], names) for example in draft.examples]
    return max(
        _difference(f"{backbone.card.id} ({name})", got, draft.expected[name])
        for name in names
        for got in (together[name], np.concatenate([one[name] for one in alone]))
    )


def _difference(name: str, got: Features, expected: Features) -> float:
    scale = np.float32(max(1.0, float(np.abs(expected).max())))
    return check_parity(name, got / scale, expected / scale, TOLERANCE)
