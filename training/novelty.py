"""What is needed to tell the unknown: which examples to keep, how novel each is, and where to draw the line.

The line is drawn from the examples alone, each scored as if it had been left out, at rank
ceil(0.95 (n + 1)) of their scores: a new example like them lies above it in at most 5 % of cases (Vovk,
Gammerman, Shafer 2005). Averaging the distance with the score of a kernel ridge regression beats either
(UCI digits, three classes held out, AUROC at 5 and 20 shots: distance 91.2 and 96.5, score 90.5 and 95.4,
both 92.2 and 97.0). With fewer than five examples of a class the left-out ones say more about the
handful than about the class, and no line is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.novelty import Kernel, Novelty, Support, signs
from training.kernel import median_distance
from training.metrics import conformal_rank
from training.spectrum import Spectrum, centred_gram

Array = NDArray[Any]
LEVEL = 0.95
LEAST_OF_A_CLASS, LEAST_VALUES = 5, 20
_BYTES = 256 * 1024  # a model: a thousand models must fit into memory
_FEWEST, _MOST = 64, 2000  # stored examples, whatever their size
_KERNEL = 1000  # rows: the eigendecomposition takes half a second
_JUDGED = 5000  # examples whose own novelty is looked at
_WIDTH = 2.0  # of the kernel, in 1 / median squared distance
_PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-2, 2.5, 0.5))
_DIFFERENT = 1e-6  # relative: examples whose signs vary by less are all alike


@dataclass(frozen=True, eq=False)
class Examples:
    """Features `X` [n, D]; for classification the class `y` int64 [n] and out-of-fold `scores` [n, C]."""

    X: Array
    y: NDArray[np.int64] | None = None
    scores: Array | None = None
    seed: int = 0

    def take(self, rows: NDArray[np.int64]) -> Examples:
        y, scores = (None if part is None else part[rows] for part in (self.y, self.scores))
        return Examples(self.X[rows], y, scores, self.seed)


def fit_novelty(examples: Examples) -> tuple[Novelty, float] | None:
    """The score with its threshold, and the share of examples, each left out, that it would reject.

    None when the examples are too few for a threshold, or are all alike.
    """
    if conformal_rank(len(examples.X) - 1, LEVEL) is None:
        return None
    kept = spread_out(examples, _room(examples.X.shape[1]))
    rest = np.setdiff1d(np.arange(len(examples.X)), kept)[: max(0, _JUDGED - len(kept))]
    support = Support.of(examples.X[kept])
    kernel, found = _signs(support, examples.take(kept), examples.take(rest))
    return _judged(support, kernel, found)


def fit_apart(examples: Examples, apart: Array) -> tuple[Novelty, float] | None:
    """The same where `examples.X` were learnt from, and so lie closer together than new ones will.

    `apart` [n] are the distances of each to the nearest of the others, by a network that had seen the others
    and not it, in units of that network's own spread (`nearest_of`). The second sign is the model's own.
    """
    if conformal_rank(len(examples.X) - 1, LEVEL) is None:
        return None
    support = Support.of(examples.X[spread_out(examples, _room(examples.X.shape[1]))])
    found = apart[:, None] * _extent(examples.X)
    if examples.scores is not None:
        found = np.hstack([found, 1 - examples.scores.max(axis=1, keepdims=True)])
    return _judged(support, None, found)


def nearest_of(known: Examples, X: Array) -> NDArray[np.float64]:
    """Distances [m] of new rows `X` [m, D] to the nearest of as many known ones as a model would keep.

    They are in units of the known ones' spread: two networks need not make features of one size.
    """
    support = Support.of(known.X[spread_out(known, _room(known.X.shape[1]))])
    return np.asarray(np.sqrt(support.distances(X).min(axis=1)) / _extent(known.X), np.float64)


def _extent(X: Array) -> float:
    """The root of the mean squared distance to the mean; 1 where all rows are alike."""
    return float(np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())) or 1.0


def _judged(support: Support, kernel: Kernel | None, found: Array) -> tuple[Novelty, float] | None:
    """From the signs [n, 1 or 2] of all examples; None where they are all alike."""
    centre, spread = found.mean(axis=0), found.std(axis=0)
    if not (spread > _DIFFERENT * np.abs(centre)).all():
        return None
    threshold, false_alarms = _line(((found - centre) / spread).mean(axis=1))
    return Novelty(support, kernel, _float32(centre), _float32(spread), threshold), false_alarms


def _line(scores: Array) -> tuple[float, float]:
    """The threshold, and the share of examples above the one that all others but they would have set."""
    n, ordered = len(scores), np.sort(scores)
    rank, without_one = conformal_rank(n, LEVEL) or n, conformal_rank(n - 1, LEVEL) or n
    return float(ordered[rank - 1]), np.count_nonzero(scores > ordered[without_one - 1]) / n


def _room(dim: int) -> int:
    return int(np.clip(_BYTES // dim, _FEWEST, _MOST))


def spread_out(examples: Examples, room: int) -> NDArray[np.int64]:
    """Row numbers: all if there is room, else a seeded draw of `room`, as even over the classes as can be."""
    n = len(examples.X)
    if n <= room:
        return np.arange(n)
    shuffled = np.random.default_rng(examples.seed).permutation(n)
    if examples.y is None:
        return np.sort(shuffled[:room])
    turn = np.empty(n, np.int64)  # the how-manieth of its class a row is
    for c in np.unique(examples.y):
        rows = shuffled[examples.y[shuffled] == c]
        turn[rows] = np.arange(len(rows))
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")[:room]])


def _signs(support: Support, kept: Examples, rest: Examples) -> tuple[Kernel | None, Array]:
    """The kernel, where it fits, and the signs [n, 1 or 2] of every example: those kept each left out."""
    squared = support.distances(kept.X).astype(np.float64)
    np.fill_diagonal(squared, np.inf)
    if kept.y is None or kept.scores is None or rest.scores is None:
        return None, _nearest(support, squared, rest)
    if len(rest.X) or len(kept.X) > _KERNEL or support.steps.nbytes + 2 * kept.scores.size > _BYTES:
        own = 1 - np.concatenate([kept.scores, rest.scores]).max(axis=1, keepdims=True)
        return None, np.hstack([_nearest(support, squared, rest), own])
    kernel, left_out = _kernel(support, np.eye(kept.scores.shape[1])[kept.y])
    return kernel, signs(squared, left_out, None)


def _nearest(support: Support, squared: Array, rest: Examples) -> Array:
    """Distances [n, 1] to the nearest stored example, of those kept and then of the rest."""
    others = support.distances(rest.X).min(axis=1, initial=np.inf)
    return np.asarray(np.sqrt(np.concatenate([squared.min(axis=1), others]))[:, None])


def _kernel(support: Support, targets: Array) -> tuple[Kernel, Array]:
    """Kernel ridge regression on the stored rows, penalty by leave-one-out; its left-out scores [n, C]."""
    squared = support.distances(support.rows).astype(np.float64)
    gamma = _WIDTH / median_distance(squared)
    gram = np.exp(-gamma * squared)
    spectrum = Spectrum.of_gram(centred_gram(gram), targets)
    penalty = spectrum.best_penalty(_PENALTIES)
    dual = spectrum.dual(penalty).astype(np.float16)
    bias = spectrum.mean - (gram @ dual).mean(axis=0)
    return Kernel(dual, _float32(bias), gamma), spectrum.leave_one_out(penalty)


def _float32(array: Array) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)
