"""The head on moved and weighted rows, and the hyperparameters that every method of adaptation shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.errors import JobFailed
from training.adaptation.domains import Domains, in_target, part, pooled_weights
from training.adaptation.nearest import nearest_head
from training.adaptation.weighted_ridge import WeightedRidge
from training.heads import AffineHead, Head
from training.linear import logistic_path
from training.methods.base import Alignment, Auto, Fitted, Hyperparameters, Problem, Setting

Array = NDArray[np.float64]
Align = Callable[[Domains, Setting], tuple[Alignment, Setting]]
"""(domains, the method's own settings) -> how the source comes to the target, and what `auto` became."""
_PATH = (10.0, 0.1, 1.0, 100.0)
_SHARED = ("classifier", "C")


class AdaptationHyperparameters(Hyperparameters):
    classifier: Auto | Literal["linear", "nearest"] = Field(
        default="auto",
        description="on the adapted examples: logistic regression (regression: ridge), the default; or the "
        "nearest neighbour (classification only)",
    )
    C: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e6,
        description="inverse strength of the logistic penalty, on features of unit mean square norm",
    )

    @abstractmethod
    def own(self, problem: Problem) -> Setting:
        """The settings of the adaptation itself; what is `auto` is resolved in the fit."""

    def grid(self, problem: Problem) -> list[Setting]:
        """The adaptation as given, with each C worth trying: the source's labels can judge no more."""
        own = self.own(problem)
        if self.classifier == "nearest":
            return [{**own, "classifier": "nearest"}]
        if problem.task == "regression":
            return [{**own, "classifier": "linear"}]
        path = _PATH if self.C == "auto" else (float(self.C),)
        return [{**own, "classifier": "linear", "C": C} for C in path]


def fit_aligned(problem: Problem, grid: Sequence[Setting], align: Align, *, rough: bool) -> list[Fitted]:
    """A fitted head a setting, in order; settings that differ only in the head share one alignment.

    Raises JobFailed without a target, without a source, or for a classifier that the task has not.
    """
    domains = part(problem)
    found: dict[int, Fitted] = {}
    for own, places in _by_own(grid):
        alignment, resolved = align(domains, own)
        heads = fit_heads(problem, [grid[place] for place in places], alignment, rough=rough)
        for place, (head, more) in zip(places, heads, strict=True):
            found[place] = Fitted(head, {**grid[place], **resolved, **more}, alignment)
    return [found[place] for place in range(len(grid))]


def fit_heads(
    problem: Problem, grid: Sequence[Setting], alignment: Alignment, *, rough: bool
) -> list[tuple[Head, Setting]]:
    """Heads on the target's features, and what each resolved, from the rows as the alignment has them."""
    weights = pooled_weights(in_target(problem), alignment.weights)
    moved = alignment.moved(problem)
    if grid[0]["classifier"] == "nearest":
        return [(_nearest(moved, weights, alignment.view), {})] * len(grid)
    seen = moved if alignment.view is None else replace(moved, X=moved.X @ alignment.view)
    return [
        (head if alignment.view is None else _through(head, alignment.view), setting)
        for head, setting in _linear(seen, weights, grid, rough)
    ]


def _by_own(grid: Sequence[Setting]) -> list[tuple[Setting, list[int]]]:
    """Settings that differ only in what is shared, together: (the method's own part, places in the grid)."""
    groups: list[tuple[Setting, list[int]]] = []
    for place, setting in enumerate(grid):
        own = {name: value for name, value in setting.items() if name not in _SHARED}
        places = next((places for known, places in groups if known == own), None)
        if places is None:
            groups.append((own, [place]))
        else:
            places.append(place)
    return groups


def _nearest(moved: Problem, weights: Array, view: Array | None) -> Head:
    if moved.task != "classification":
        raise JobFailed("The nearest neighbour classifies; take the linear one.", code="bad_hyperparameters")
    return nearest_head(moved.take(weights > 0), view)


def _linear(
    problem: Problem, weights: Array, grid: Sequence[Setting], rough: bool
) -> list[tuple[AffineHead, Setting]]:
    if problem.task == "regression":
        ridge = WeightedRidge.of(np.asarray(problem.X, np.float64), problem.targets, weights)
        penalty = ridge.best_penalty()
        return [(AffineHead(*ridge.solve(penalty), "identity"), {"penalty": penalty})] * len(grid)
    path = sorted({float(setting["C"]) for setting in grid})  # type: ignore[arg-type]
    heads = dict(zip(path, logistic_path(problem, path, rough=rough, weights=weights), strict=True))
    return [(heads[float(setting["C"])], {}) for setting in grid]  # type: ignore[arg-type]


def _through(head: AffineHead, view: Array) -> AffineHead:
    """The head on x @ view as one on x."""
    return replace(head, weight=head.weight @ view.T)
