"""Labels that a model gives to the target's rows, and which of them to believe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confident(probabilities: NDArray[Any], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to believe, ascending, and their labels, for probabilities [m, C].

    Of the rows that are given a class, the `share` of greatest probability, at least one: taken class by
    class, so that an easy class does not crowd out the others (Zou et al. 2018, class-balanced).
    """
    labels = probabilities.argmax(axis=1)
    surety = probabilities.max(axis=1)
    kept: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        best = np.argsort(-surety[rows], kind="stable")[: max(1, round(share * len(rows)))]
        kept.append(rows[best])
    believed = np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)
    return believed, labels[believed]
