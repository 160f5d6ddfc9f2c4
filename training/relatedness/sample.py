"""Which of the examples are looked at: few enough to be quick, and enough of each class."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from models.base import Label
from models.dataset import Pack
from models.fitspec import BackboneChoice
from training.features import FeatureSource

LEAST_SHOTS = 4
PILOT = 32


def sample(labels: Sequence[Label], most: int, seed: int = 0) -> list[int]:
    """Rows to look at, in order: all, or `most` of them.

    Classes are drawn from in turn, so that a rare one keeps all it has; where that would leave fewer than
    `LEAST_SHOTS` examples a class, only some classes are looked at. Other labels are drawn evenly. A
    greater sample holds the smaller ones.
    """
    if len(labels) <= most:
        return list(range(len(labels)))
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted({label for label in labels if isinstance(label, str)}))
    known = set(names[: max(1, most // LEAST_SHOTS)])
    order = [int(row) for row in rng.permutation(len(labels)) if not len(names) or labels[row] in known]
    drawn: dict[Label, int] = {}
    turns = []
    for row in order:
        label = labels[row]
        name = label if isinstance(label, str) else None
        drawn[name] = drawn.get(name, -1) + 1
        turns.append(drawn[name])
    first = np.argsort(turns, kind="stable")[:most]
    return sorted(order[place] for place in first)


def affordable(
    pack: Pack,
    choices: Sequence[BackboneChoice],
    features: FeatureSource,
    most: int,
    seconds: float,
    seed: int = 0,
) -> Pack:
    """A sample of at most `most` examples whose features are ready in about `seconds`, now in the cache.

    Long texts cost a hundred times what small pictures do, and cached features nothing: the sample is
    doubled as long as the time is likely to suffice for that. At least `PILOT` examples are given.
    """
    count, spent = min(PILOT, most), 0.0
    while True:
        part = pack.select(sample(pack.labels, count, seed))
        started = time.perf_counter()
        for choice in choices:
            features.features(choice, part, silent)
        step = time.perf_counter() - started
        spent += step
        if len(part) < count or count == most or spent + 2 * step > seconds:
            return part
        count = min(2 * count, most)


def silent(done: int, total: int) -> None:
    """Nobody waits for progress."""
