"""Which inputs are unlike everything that their model learnt from: one pass for all inputs of a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from app.engine.heads import Outputs
from app.engine.model import LoadedModel
from app.engine.work import Item
from models.runtime import Features

log = logging.getLogger(__name__)


def find_unknown(
    items: Sequence[Item], features: Sequence[Features], outputs: Sequence[Outputs | None]
) -> list[bool | None]:
    """Whether each item is unknown; None where nobody asked, or the model cannot tell."""
    found: list[bool | None] = [None] * len(items)
    by_model: dict[LoadedModel, list[int]] = {}
    for row, item in enumerate(items):
        model = item.work.ask.model
        if item.work.ask.unknown and model is not None and model.novelty and outputs[row] is not None:
            by_model.setdefault(model, []).append(row)
    for model, rows in by_model.items():
        for row, answer in zip(rows, _ask(model, rows, features, outputs), strict=True):
            found[row] = answer
    return found


def _ask(
    model: LoadedModel,
    rows: Sequence[int],
    features: Sequence[Features],
    outputs: Sequence[Outputs | None],
) -> Sequence[bool | None]:
    """The answers of one model. Where its novelty breaks, the prediction stands without."""
    own = model.manifest.columns[0]
    scored = [row[own] for row in (outputs[row] for row in rows) if row is not None]
    try:
        if model.novelty is not None:
            unknown: list[bool] = model.novelty.unknown(
                np.stack([features[r] for r in rows]), np.stack(scored)
            ).tolist()
            return unknown
    except Exception:
        log.exception("the novelty of %d inputs cannot be told", len(rows))
    return [None] * len(rows)
