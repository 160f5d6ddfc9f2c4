"""A problem parted into its two domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import JobFailed
from training.methods.base import Problem

Array = NDArray[np.float64]
TARGET_SHARE = 0.5  # of the source's total weight: what the labelled rows of the target weigh together


@dataclass(frozen=True, eq=False)
class Domains:
    """The source and the target of a problem, as float64.

    `source` [s, D] and `y` [s, ...] are its labelled rows that are not of the target. `target` [m, D] is
    all that is known of the target: the unlabelled rows, then the labelled ones, whose targets are `ty`
    [t, ...]. `task`, `classes` and `seed` are the problem's.
    """

    source: Array
    y: NDArray[Any]
    target: Array
    ty: NDArray[Any]
    classes: int
    seed: int

    @property
    def unlabelled(self) -> Array:
        """The target's rows without a label."""
        return self.target[: len(self.target) - len(self.ty)]

    @property
    def labelled(self) -> Array:
        """The target's rows with a label, in the order of `ty`."""
        return self.target[len(self.target) - len(self.ty) :]


def in_target(problem: Problem) -> NDArray[np.bool_]:
    """bool [n]: which labelled rows are of the target domain; none where nothing is said."""
    return np.zeros(len(problem), bool) if problem.in_target is None else problem.in_target


def part(problem: Problem) -> Domains:
    """The two domains. Raises JobFailed where nothing is known of one of them."""
    of_target = in_target(problem)
    X = np.asarray(problem.X, np.float64)
    unlabelled = np.empty((0, X.shape[1])) if problem.target is None else problem.target
    target = np.concatenate([np.asarray(unlabelled, np.float64), X[of_target]])
    if not len(target):
        message = "Adaptation needs examples of the target domain: give an unlabelled_file."
        raise JobFailed(message, code="no_unlabelled_data")
    if of_target.all():
        message = "Every labelled example is of the target domain: there is no source to adapt."
        raise JobFailed(message, code="no_source_data")
    y = problem.y
    return Domains(X[~of_target], y[~of_target], target, y[of_target], len(problem.labels), problem.seed)


def spread(X: NDArray[Any]) -> float:
    """Mean squared distance of rows [n, D] from their mean; 1 where they are all alike.

    Penalties are meant for a spread of one. A frame that holds two domains gives one to both together;
    what is to be fitted on one as if there were no other has its C divided by this.
    """
    centred = X - X.mean(axis=0, dtype=np.float64)
    return float(np.einsum("ij,ij->", centred, centred)) / len(X) or 1.0


def pooled_weights(of_target: NDArray[np.bool_], source: Array | None = None) -> Array:
    """Weights [n] of mean one: the target's rows weigh together half of what the source's do.

    `source` [s] are the weights of the source's rows among each other; None for equal ones.
    """
    weights = np.ones(len(of_target))
    if source is not None:
        weights[~of_target] = source
    if of_target.any() and not of_target.all():
        weights[of_target] = TARGET_SHARE * weights[~of_target].sum() / of_target.sum()
    return np.asarray(weights / weights.mean())
