"""Which inputs are unlike everything that their model learnt from: one pass for all inputs of a model, and
one for all models that have a single input in the batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from app.engine.heads import Outputs
from app.engine.model import LoadedModel
from app.engine.work import Item
from models.novelty import Novelty, unknown_each
from models.runtime import Features

log = logging.getLogger(__name__)

_Asked = tuple[int, Novelty, Features, Outputs]
"""A row of the batch, what judges it, its features [D], and the outputs of its model's own task [C]."""


def find_unknown(
    items: Sequence[Item], features: Sequence[Features], outputs: Sequence[Outputs | None]
) -> list[bool | None]:
    """Whether each item is unknown; None where nobody asked, or the model cannot tell."""
    found: list[bool | None] = [None] * len(items)
    by_model: dict[LoadedModel, list[_Asked]] = {}
    for row, (item, vector, scores) in enumerate(zip(items, features, outputs, strict=True)):
        model = item.work.ask.model
        if item.work.ask.unknown and model is not None and model.novelty and scores is not None:
            asked = (row, model.novelty, vector, scores[model.manifest.columns[0]])
            by_model.setdefault(model, []).append(asked)
    for row, answer in _answers(list(by_model.values())):
        found[row] = answer
    return found


def _answers(groups: list[list[_Asked]]) -> Iterator[tuple[int, bool]]:
    single: dict[int, list[_Asked]] = {}
    for group in groups:
        if len(group) == 1:
            single.setdefault(len(group[0][2]), []).extend(group)
        else:
            yield from _of_one_model(group)
    for alike in single.values():
        yield from _of_many_models(alike)


def _of_many_models(asked: list[_Asked]) -> Iterator[tuple[int, bool]]:
    """Each of another model. Where one's novelty breaks, the others are asked one by one."""
    if len(asked) > 1:
        rows, novelties, vectors, scores = zip(*asked, strict=True)
        try:
            answers = unknown_each(novelties, np.stack(vectors), scores).tolist()
        except Exception:
            log.exception("the novelty of %d inputs cannot be told together", len(asked))
        else:
            yield from zip(rows, answers, strict=True)
            return
    for one in asked:
        yield from _of_one_model([one])


def _of_one_model(asked: list[_Asked]) -> Iterator[tuple[int, bool]]:
    """Where its novelty breaks, the prediction stands without."""
    rows, (novelty, *_), vectors, scores = zip(*asked, strict=True)
    try:
        answers = novelty.unknown(np.stack(vectors), np.stack(scores)).tolist()
    except Exception:
        log.exception("the novelty of %d inputs cannot be told", len(rows))
    else:
        yield from zip(rows, answers, strict=True)
