"""From a stored dataset to a problem: which rows, which classes, and whether that is enough to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Label, TaskName
from models.dataset import Pack, shortage
from models.errors import JobFailed

TARGET = "value"


def labelled_rows(pack: Pack) -> list[int]:
    """Row numbers that carry a label."""
    return [row for row, label in enumerate(pack.labels) if label is not None]


def label_names(pack: Pack) -> tuple[str, ...]:
    """Class names in sorted order (the order of scores); the target's name for regression."""
    return (TARGET,) if pack.task == "regression" else tuple(sorted(pack.counts()))


def check_trainable(pack: Pack) -> None:
    """Raises JobFailed (`too_few_examples`, `too_few_classes`) when nothing can be learnt from the pack."""
    missing = shortage(pack.task, len(labelled_rows(pack)), len(pack.counts()))
    if missing is not None:
        code, what = missing
        raise JobFailed(f"The training data has {what}. Add labelled examples.", code=code)


def encode(task: TaskName, labels: Sequence[Label], names: Sequence[str]) -> NDArray[Any]:
    """Labels -> `Problem.y`. Every class name must be in `names`."""
    if task == "regression":
        return np.array(labels, np.float64)[:, None]
    index = {name: i for i, name in enumerate(names)}
    if task == "classification":
        return np.array([index[label] for label in labels if isinstance(label, str)], np.int64)
    marks = np.zeros((len(labels), len(names)))
    for row, label in enumerate(labels):
        for name in label if isinstance(label, list) else ():
            marks[row, index[name]] = 1
    return marks


def known(label: Label, names: Sequence[str]) -> bool:
    """Whether a label says nothing but what the model can answer."""
    if isinstance(label, str):
        return label in names
    return all(name in names for name in label) if isinstance(label, list) else label is not None
