"""Which inputs are unlike everything that their model learnt from: one pass for all inputs of a model, and
one for all models that have a single input in the batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from app.engine.heads import Outputs
from app.engine.model import LoadedModel
from app.engine.work import Part, placed
from models.novelty import Novelty, unknown_each

log = logging.getLogger(__name__)

_Asked = tuple[Part, Novelty, Outputs]
"""A part, what judges it, and the outputs of its model's own task [n, C]."""


def find_unknown(parts: Sequence[Part]) -> None:
    """Tell each part which of its inputs are unknown, where that was asked and the model can."""
    by_model: dict[LoadedModel, list[_Asked]] = {}
    for part in parts:
        model = part.work.ask.model
        if part.work.ask.unknown and model is not None and model.novelty and part.outputs is not None:
            asked = (part, model.novelty, part.outputs[:, model.own_columns])
            by_model.setdefault(model, []).append(asked)
    single: dict[int, list[_Asked]] = {}
    for group in by_model.values():
        if len(group) == 1 and len(group[0][0].items) == 1:
            single.setdefault(group[0][0].features.shape[1], []).extend(group)
        else:
            _of_one_model(group)
    for alike in single.values():
        _of_many_models(alike)


def _of_many_models(asked: list[_Asked]) -> None:
    """An input of each. Where one's novelty breaks, the others are asked one by one."""
    if len(asked) > 1:
        parts, novelties, scores = zip(*asked, strict=True)
        try:
            features = np.concatenate([part.features for part in parts])
            answers = unknown_each(novelties, features, [row for (row,) in scores]).tolist()
        except Exception:
            log.exception("the novelty of %d inputs cannot be told together", len(asked))
        else:
            for part, answer in zip(parts, answers, strict=True):
                part.unknown = [answer]
            return
    for one in asked:
        _of_one_model([one])


def _of_one_model(asked: list[_Asked]) -> None:
    """Where its novelty breaks, the prediction stands without."""
    parts, (novelty, *_), scores = zip(*asked, strict=True)
    features = np.concatenate([part.features for part in parts])
    try:
        answers = novelty.unknown(features, np.concatenate(scores)).tolist()
    except Exception:
        log.exception("the novelty of %d inputs cannot be told", len(features))
    else:
        for part, rows in placed(parts):
            part.unknown = answers[rows]
