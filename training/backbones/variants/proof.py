"""What a variant must keep: its answers are finite, repeatable, and depend on nothing else in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.backbone import Precision
from models.errors import CorruptArtefact
from models.modalities.base import Prepared
from models.runtime import Backbone, Features

TOLERANCE: dict[Precision, float] = {"int8": 1e-5, "fp16": 2e-3}
"""Of a tap's largest value, or of 1 where that is less. In float16 one rounding unit is 1e-3: two sums in
another order may end in neighbours."""


def prove(backbone: Backbone, examples: Sequence[Prepared], precision: Precision) -> None:
    """Run the examples in one batch, twice, and each alone, at every tap.

    Raises CorruptArtefact: `non_finite`, `not_repeatable` or `batch_variance`.
    """
    together, again = _run(backbone, examples), _run(backbone, examples)
    alone = [_run(backbone, [example]) for example in examples]
    for tap, values in together.items():
        _prove(values, again[tap], np.concatenate([one[tap] for one in alone]), TOLERANCE[precision])


def _run(backbone: Backbone, examples: Sequence[Prepared]) -> dict[str, Features]:
    return backbone.run(examples, [tap.name for tap in backbone.card.taps])


def _prove(values: Features, again: Features, alone: Features, tolerance: float) -> None:
    if not (np.isfinite(values).all() and np.isfinite(alone).all()):
        raise _refused("gives NaN or infinity on ordinary input", "non_finite")
    if not np.array_equal(values, again):
        raise _refused("does not give the same answer twice", "not_repeatable")
    scale = max(1.0, float(np.abs(alone).max()))
    if np.abs(values - alone).max() > tolerance * scale:
        raise _refused("answers differently when examples are batched", "batch_variance")


def _refused(what: str, code: str) -> CorruptArtefact:
    return CorruptArtefact(f"The variant {what}: use the backbone as it is.", code=code, param="precision")
