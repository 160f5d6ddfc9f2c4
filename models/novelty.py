"""Is this like anything the model learnt from? One number an input, and a threshold above which it is not.

Two signs of the unknown are put on one scale, that of the examples themselves, each left out, and
averaged: the distance to the nearest example, and one minus the largest score. The score is that of a
kernel ridge regression over the same stored examples, which falls to nothing away from them; where that
would take too much room, it is that of the model's own head. Without classes there is the distance alone.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import CorruptArtefact

NOVELTY = "novelty.npz"
Floats = NDArray[np.float32]
_LEVELS = 127  # of int8
_CHUNK = 1024  # rows at a time: bounds the memory of the distances


@dataclass(frozen=True, eq=False)
class Support:
    """Stored examples, as whole steps of one size a column from their mean: int8 `steps` [n, D]."""

    steps: NDArray[np.int8]
    step: Floats  # [D]
    mean: Floats  # [D]

    @classmethod
    def of(cls, X: NDArray[Any]) -> Support:
        """Of the rows of `X` [n, D], each column rounded to 1/127 of its largest deviation."""
        mean = X.mean(axis=0, dtype=np.float64)
        centred = X - mean
        step = np.maximum(np.abs(centred).max(axis=0) / _LEVELS, np.finfo(np.float32).tiny)
        steps = np.clip(np.rint(centred / step), -_LEVELS, _LEVELS)
        return cls(steps.astype(np.int8), step.astype(np.float32), mean.astype(np.float32))

    @property
    def rows(self) -> Floats:
        """The examples as they are stored, float32 [n, D]."""
        return np.asarray(self.steps * self.step + self.mean)

    @cached_property
    def lengths(self) -> Floats:
        """Squared distance of each stored example to the mean, float32 [n]."""
        return _power(self.steps * self.step)

    def distances(self, X: NDArray[Any]) -> Floats:
        """float32 [m, n]: squared distances of the rows of `X` [m, D] to the stored examples."""
        queries = np.asarray(X, np.float32) - self.mean
        products = (queries * self.step) @ self.steps.astype(np.float32).T
        return np.asarray(np.maximum(_power(queries)[:, None] + self.lengths - 2 * products, 0))


@dataclass(frozen=True, eq=False)
class Kernel:
    """exp(-gamma squared distance) @ `dual` [n, C] + `bias` [C]: near 1 for the class of what is near."""

    dual: NDArray[np.float16]
    bias: Floats
    gamma: float

    def scores(self, squared: NDArray[Any]) -> NDArray[Any]:
        """[m, C] for squared distances [m, n] to the stored examples."""
        return np.asarray(np.exp(-self.gamma * squared) @ self.dual.astype(np.float32) + self.bias)


@dataclass(frozen=True, eq=False)
class Novelty:
    """`score` above `threshold`: unlike the examples.

    `centre` and `spread` are mean and standard deviation over the examples of each sign: [1] for the
    distance alone, [2] with the score, which is the kernel's where there is one.
    """

    support: Support
    kernel: Kernel | None
    centre: Floats
    spread: Floats
    threshold: float

    @property
    def nbytes(self) -> int:
        """What its arrays take in memory."""
        kernel = () if self.kernel is None else (self.kernel.dual, self.kernel.bias)
        support = self.support
        stored = (support.steps, support.step, support.mean, support.lengths)
        return sum(array.nbytes for array in (*stored, *kernel))

    def unknown(self, X: Floats, outputs: Floats) -> NDArray[np.bool_]:
        """bool [m]: which rows are unlike every example. Arguments as for `score`."""
        return self.score(X, outputs) > self.threshold

    def score(self, X: NDArray[Any], outputs: NDArray[Any]) -> NDArray[np.float64]:
        """[m] for features `X` [m, D] and the head's `outputs` [m, C]: 0 is usual, 1 a deviation from it."""
        found = [
            signs(self.support.distances(X[i : i + _CHUNK]), outputs[i : i + _CHUNK], self.kernel)
            for i in range(0, len(X), _CHUNK)
        ]
        usual = (np.concatenate(found)[:, : len(self.centre)] - self.centre) / self.spread
        return np.asarray(usual.mean(axis=1))

    def to_bytes(self) -> bytes:
        """Deterministic npz. Inverse: `from_bytes`."""
        kernel = {} if self.kernel is None else vars(self.kernel)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            steps=self.support.steps,
            step=self.support.step,
            mean=self.support.mean,
            **kernel,
            centre=self.centre,
            spread=self.spread,
            threshold=np.float64(self.threshold),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, dim: int) -> Novelty:
        """For features of `dim` columns. Raises CorruptArtefact."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as npz:
                found = {name: npz[name] for name in npz.files}
            novelty = _assemble(found)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptArtefact(f"The artefact's {NOVELTY} cannot be read.") from error
        if novelty.support.steps.shape[1:] != (dim,):
            raise CorruptArtefact(f"The artefact's {NOVELTY} does not fit its manifest.")
        return novelty


def signs(squared: NDArray[Any], outputs: NDArray[Any], kernel: Kernel | None) -> NDArray[Any]:
    """[m, 2]: distance to the nearest example, and one minus the largest score."""
    scores = outputs if kernel is None else kernel.scores(squared)
    return np.stack([np.sqrt(squared.min(axis=1)), 1 - scores.max(axis=1)], axis=1)


def _assemble(found: dict[str, NDArray[Any]]) -> Novelty:
    support = Support(found["steps"], found["step"], found["mean"])
    kernel = Kernel(found["dual"], found["bias"], float(found["gamma"])) if "dual" in found else None
    return Novelty(support, kernel, found["centre"], found["spread"], float(found["threshold"]))


def _power(rows: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def unknown_each(novelties: Sequence[Novelty], X: Floats, outputs: Sequence[Floats]) -> NDArray[np.bool_]:
    """bool [m]: row i of `X` [m, D], with its own outputs [C_i], by `novelties[i]`, each another model's.

    As `Novelty.unknown` row by row, but in steps over all rows: nearly all of a single row's time is the
    start of some twenty numpy calls.
    """
    supports = [novelty.support for novelty in novelties]
    queries = X - np.stack([support.mean for support in supports])
    scaled = queries * np.stack([support.step for support in supports])
    products = [support.steps.astype(np.float32) @ row for support, row in zip(supports, scaled, strict=True)]
    counts = [len(row) for row in products]
    starts = np.cumsum([0, *counts[:-1]])
    lengths = np.concatenate([support.lengths for support in supports])
    squared = np.repeat(_power(queries), counts) + lengths - 2 * np.concatenate(products)
    squared = np.maximum(squared, 0)
    nearest = np.sqrt(np.minimum.reduceat(squared, starts))
    gammas = [novelty.kernel.gamma if novelty.kernel else 0.0 for novelty in novelties]
    likeness = np.exp(np.repeat(np.array(gammas, np.float32), counts) * -squared)
    largest = np.array(
        [
            _largest(novelty, likeness[start : start + count], own)
            for novelty, start, count, own in zip(novelties, starts, counts, outputs, strict=True)
        ]
    )
    first, second = (
        np.array([[n.centre[i], n.spread[i]] if i < len(n.centre) else [0, np.inf] for n in novelties])
        for i in (0, 1)
    )
    both = (nearest - first[:, 0]) / first[:, 1] + (1 - largest - second[:, 0]) / second[:, 1]
    usual = both / np.array([len(novelty.centre) for novelty in novelties])
    return np.asarray(usual > np.array([novelty.threshold for novelty in novelties]))


def _largest(novelty: Novelty, likeness: Floats, outputs: Floats) -> float:
    """The largest score of one row: the kernel's, or the head's own."""
    kernel = novelty.kernel
    scores = outputs if kernel is None else likeness @ kernel.dual.astype(np.float32) + kernel.bias
    return float(scores.max())
