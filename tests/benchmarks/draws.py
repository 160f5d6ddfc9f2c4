"""Small sets of scikit-learn, and seeded draws of them: a few rows to learn from, the rest to judge by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Label

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """Features float32 [n, D] with labels; `y` int64 [n] are their class numbers (regression: zeros)."""

    X: NDArray[np.float32]
    labels: list[Label]
    y: NDArray[np.int64]

    def named(self, rows: Rows) -> list[Label]:
        return [self.labels[row] for row in rows]

    def draw(self, shots: int, seed: int) -> tuple[Rows, Rows]:
        """`shots` rows a class, or of all where there are no classes, by rng(1000 + seed); and the others."""
        rng = np.random.default_rng(1000 + seed)
        groups = [np.flatnonzero(self.y == c) for c in np.unique(self.y)]
        drawn = np.concatenate([rng.permutation(group)[:shots] for group in groups])
        return drawn, np.setdiff1d(np.arange(len(self.y)), drawn)

    def keep(self, wanted: NDArray[np.bool_]) -> Table:
        rows = np.flatnonzero(wanted)
        return Table(self.X[rows], self.named(rows), self.y[rows])

    def joined(self, other: Table) -> Table:
        X, y = np.concatenate([self.X, other.X]), np.concatenate([self.y, other.y])
        return Table(X, self.labels + other.labels, y)


def digits() -> Table:
    """1,797 scans of 8 x 8 pixels, in [0, 1]."""
    return _classes("load_digits", lambda X: X / 16)


def wine() -> Table:
    """178 wines of 3 cultivars, standardised."""
    return _classes("load_wine", _standardised)


def cancer() -> Table:
    """569 biopsies, standardised."""
    return _classes("load_breast_cancer", _standardised)


def diabetes() -> Table:
    """442 patients and a number for the course of their disease."""
    X, y = _load("load_diabetes")
    return Table(_float32(_standardised(X)), [float(value) for value in y], np.zeros(len(y), np.int64))


def traits_of_digits() -> Table:
    """The scans with several labels each: even, prime, has a loop, at least 5."""
    X, y = _load("load_digits")
    traits = {
        "even": (0, 2, 4, 6, 8),
        "prime": (2, 3, 5, 7),
        "loop": (0, 6, 8, 9),
        "big": (5, 6, 7, 8, 9),
    }
    labels: list[Label] = [[name for name, which in traits.items() if digit in which] for digit in y]
    return Table(_float32(X / 16), labels, np.zeros(len(y), np.int64))


def _classes(name: str, scale: Callable[[NDArray[Any]], NDArray[Any]]) -> Table:
    X, y = _load(name)
    return Table(_float32(scale(X)), [f"class {c}" for c in y], y.astype(np.int64))


def _load(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn import datasets  # slow to import, and only this needs it

    found: tuple[NDArray[Any], NDArray[Any]] = getattr(datasets, name)(return_X_y=True)
    return found


def _standardised(X: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((X - X.mean(axis=0)) / X.std(axis=0))


def _float32(X: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(X, np.float32)
