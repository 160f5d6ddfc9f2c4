"""Who is predicted by whom: seeded, stratified folds.

Each class is dealt over the folds like cards, so every fold holds out at most its share of a class. A
class with few examples is then left out one by one without lowering the number of folds for the others,
and every class keeps examples to learn from; a class with one example is always learnt from and never
predicted. Up to 40 examples the folds are leave-one-out (one of each class together), so repeating them
would average nothing but the fitting noise. From there to 200 the examples are dealt three times, and
candidates are compared by the mean over the deals: luck in the division is averaged away.

With two domains only one is judged by: the target where it has labels enough, else the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.methods.base import Problem

_FEW, _SOME = 40, 100
_SOME_FOLDS, _MANY_FOLDS = 10, 5
_ENOUGH_OF_EACH, _ENOUGH_VALUES = 3, 10
_CHEAP, _REPEATS = 200, 3  # up to so many examples everything is held out so often


@dataclass(frozen=True, eq=False)
class Folds:
    """`fold` int64 [n]: the fold in which a row is predicted, -1 where it is always learnt from.

    `repeats` are other divisions of the same rows into as many folds.
    """

    fold: NDArray[np.int64]
    repeats: tuple[Folds, ...] = ()

    @property
    def count(self) -> int:
        return int(self.fold.max(initial=-1)) + 1

    @property
    def tested(self) -> NDArray[np.int64]:
        """Rows that are predicted, ascending."""
        return np.flatnonzero(self.fold >= 0)

    def extended(self, n: int) -> Folds:
        """The same with `n` more rows that are always learnt from."""
        repeats = tuple(again.extended(n) for again in self.repeats)
        return Folds(np.concatenate([self.fold, np.full(n, -1)]), repeats)

    def spread(self, rows: NDArray[np.bool_]) -> Folds:
        """Folds of the marked `rows` [n] as folds of all: the others are always learnt from."""
        fold = np.full(len(rows), -1, np.int64)
        fold[rows] = self.fold
        return Folds(fold, tuple(again.spread(rows) for again in self.repeats))

    def part(self, rows: int) -> Folds:
        """Of one division so many folds that at least `rows` rows are tested; the others' are learnt from."""
        sizes = np.cumsum(np.bincount(self.fold[self.fold >= 0], minlength=1))
        kept = int(np.searchsorted(sizes, rows)) + 1
        return self if kept >= self.count else Folds(np.where(self.fold < kept, self.fold, -1))

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """(rows to learn from, rows to predict), as masks."""
        for number in range(self.count):
            yield self.fold != number, self.fold == number


def judged_rows(problem: Problem) -> NDArray[np.bool_]:
    """Which rows [n] tell how good a model is: all of one domain, the target's where they are enough.

    Enough is what an interval needs: three of each class, ten for regression.
    """
    of_target = problem.in_target
    if of_target is None or of_target.all() or not of_target.any():
        return np.ones(len(problem), bool)
    if problem.task == "regression":
        enough = of_target.sum() >= _ENOUGH_VALUES
    else:
        enough = problem.targets[of_target].sum(axis=0).min() >= _ENOUGH_OF_EACH
    return of_target if enough else ~of_target


def make_folds(problem: Problem) -> Folds:
    """Folds of a problem's judged rows; none (`count` 0) when no class has two examples."""
    judged = judged_rows(problem)
    return _divide(problem) if judged.all() else _divide(problem.take(judged)).spread(judged)


def _divide(problem: Problem) -> Folds:
    strata, rng = _strata(problem), np.random.default_rng(problem.seed)
    times = _REPEATS if _FEW < len(problem) <= _CHEAP else 1
    first, *others = (Folds(_deal(strata, rng)) for _ in range(times))
    return replace(first, repeats=tuple(others) if first.count else ())


def _deal(strata: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each row; -1 everywhere when no class has two examples."""
    sizes = np.bincount(strata)
    count = min(_most_folds(len(strata)), int(sizes.max()))
    fold = np.full(len(strata), -1, np.int64)
    if count < 2:
        return fold
    dealt = 0
    for stratum in np.flatnonzero(sizes > 1):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        fold[rows] = (dealt + np.arange(len(rows))) % count
        dealt += len(rows)
    return _dense(fold)


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
