"""Who is predicted by whom: seeded, stratified folds.

Each class is dealt over the folds like cards, so every fold holds out at most its share of a class. A
class with few examples is then left out one by one without lowering the number of folds for the others,
and every class keeps examples to learn from; a class with one example is always learnt from and never
predicted. Up to 40 examples the folds are leave-one-out (one of each class together), so repeating them
would average nothing but the fitting noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.methods.base import Problem

_FEW, _SOME = 40, 100
_SOME_FOLDS, _MANY_FOLDS = 10, 5


@dataclass(frozen=True, eq=False)
class Folds:
    """`fold` int64 [n]: the fold in which a row is predicted, -1 where it is always learnt from."""

    fold: NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.fold.max(initial=-1)) + 1

    @property
    def tested(self) -> NDArray[np.int64]:
        """Rows that are predicted, ascending."""
        return np.flatnonzero(self.fold >= 0)

    def extended(self, n: int) -> Folds:
        """The same with `n` more rows that are always learnt from."""
        return Folds(np.concatenate([self.fold, np.full(n, -1)]))

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """(rows to learn from, rows to predict), as masks."""
        for number in range(self.count):
            yield self.fold != number, self.fold == number


def make_folds(problem: Problem) -> Folds:
    """Folds of a problem; none (`count` 0) when no class has two examples."""
    strata = _strata(problem)
    rng = np.random.default_rng(problem.seed)
    sizes = np.bincount(strata)
    count = min(_most_folds(len(problem)), int(sizes.max()))
    fold = np.full(len(problem), -1, np.int64)
    if count < 2:
        return Folds(fold)
    dealt = 0
    for stratum in np.flatnonzero(sizes > 1):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        fold[rows] = (dealt + np.arange(len(rows))) % count
        dealt += len(rows)
    return Folds(_dense(fold))


def _most_folds(n: int) -> int:
    if n <= _FEW:
        return n
    return _SOME_FOLDS if n <= _SOME else _MANY_FOLDS


def _strata(problem: Problem) -> NDArray[np.int64]:
    """The class; the rarest label of a row (multilabel; none is a class too); all alike (regression)."""
    if problem.task == "classification":
        return np.asarray(problem.y, np.int64)
    if problem.task == "regression":
        return np.zeros(len(problem), np.int64)
    frequency = np.where(problem.y > 0, problem.y.sum(axis=0), np.inf)
    rarest = np.where(problem.y.any(axis=1), frequency.argmin(axis=1), problem.y.shape[1])
    return np.asarray(rarest, np.int64)


def _dense(fold: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber so that no fold is empty."""
    used = np.unique(fold[fold >= 0])
    return np.asarray(np.where(fold >= 0, np.searchsorted(used, fold), -1), np.int64)
