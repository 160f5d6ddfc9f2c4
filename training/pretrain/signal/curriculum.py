"""A batch of the pretraining: every family in its share, two views of each signal, and all that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.pretrain.signal import absorption, mixtures, peaks, series
from training.pretrain.signal.made import POINTS, Array, Made, standardised
from training.pretrain.signal.views import view

Floats = NDArray[np.float32]
SHAPE_BINS = 32


@dataclass(frozen=True)
class Family:
    """A generator, and how many of its signals are in each batch."""

    name: str
    make: Callable[[int, np.random.Generator], Made]
    count: int


FAMILIES: tuple[Family, ...] = (
    Family("fine structure", absorption.fine_structure, 38),
    Family("edges", absorption.edges, 6),
    Family("short mixtures", mixtures.short, 20),
    Family("long mixtures", mixtures.long, 6),
    Family("peaks", peaks.peaks, 10),
    Family("series", series.series, 22),
    Family("siblings", series.siblings, 26),
)
BATCH = sum(family.count for family in FAMILIES)
KINDS = len(FAMILIES) - 2 + len(series.PROCESSES)
"""Classes to tell apart: each family one, but `series` and `siblings` one a process."""


@dataclass(frozen=True)
class Batch:
    """`views` [2, n, POINTS]; `known` [n, parameters], nan where a signal has no such; `kind` [n].

    `shape` [n, SHAPE_BINS]: the clean signal, standardised, averaged in parts.
    """

    views: Floats
    known: Floats
    shape: Floats
    kind: NDArray[np.int64]


def parameter_names() -> tuple[str, ...]:
    """Every parameter that any family knows, sorted."""
    rng = np.random.default_rng(0)
    return tuple(sorted({name for family in FAMILIES for name in family.make(16, rng).known}))


def draw(names: tuple[str, ...], rng: np.random.Generator) -> Batch:
    """One batch of BATCH signals. Equal generators give equal batches."""
    made = [family.make(family.count, rng) for family in FAMILIES]
    views = [np.concatenate([view(m.clean, m.nuisance, rng) for m in made]) for _ in range(2)]
    clean = np.concatenate([m.clean for m in made])
    shape = standardised(clean).reshape(len(clean), SHAPE_BINS, POINTS // SHAPE_BINS).mean(axis=2)
    return Batch(
        views=np.stack(views).astype(np.float32),
        known=np.concatenate([_columns(m, names) for m in made]).astype(np.float32),
        shape=shape.astype(np.float32),
        kind=np.concatenate([_classes(i, m) for i, m in enumerate(made)]),
    )


def _columns(made: Made, names: tuple[str, ...]) -> Array:
    nothing = np.full(len(made.clean), np.nan)
    return np.stack([made.known.get(name, nothing) for name in names], axis=1)


def _classes(family: int, made: Made) -> NDArray[np.int64]:
    return made.kind + min(family, len(FAMILIES) - 2)
