"""The gate of every export: it must compute what the original computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.backbone import GRAPH
from models.errors import CorruptArtefact
from models.modalities import preprocessor
from models.runtime import Features, open_session
from training.backbones.source import Exported

BATCH = 16


def embed(exported: Exported, contents: Sequence[bytes], tap: str) -> Features:
    """Features [len(contents), dim] of canonical inputs, through the preprocessing that serves them."""
    prepare = preprocessor(exported.card, exported.files)
    session = open_session(exported.files[GRAPH])
    rows = [prepare.prepare(content) for content in contents]
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return np.concatenate([session.run([tap], prepare.collate(batch))[0] for batch in batches])


def check_parity(name: str, got: Features, expected: Features, tolerance: float) -> float:
    """The largest absolute difference. Raises CorruptArtefact (code `parity`) above `tolerance`."""
    if got.shape != expected.shape:
        raise CorruptArtefact(f"The export of {name} gives another shape than the original.", code="parity")
    worst = float(np.abs(got - expected).max())
    if not worst <= tolerance:  # also catches NaN
        message = f"The export of {name} differs from the original by {worst:.2g} (allowed {tolerance:.0e})."
        raise CorruptArtefact(message, code="parity")
    return worst
