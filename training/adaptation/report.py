"""What a report says of the two domains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.report import Adaptation
from training.adaptation.domains import in_target
from training.adaptation.weights import effective_sample_size
from training.folds import judged_rows
from training.methods.base import Alignment, Problem
from training.relatedness.adistance import proxy_a_distance
from training.source import Source

Rows = NDArray[np.floating[Any]]
_MOST_ROWS = 500  # of a domain, drawn by the seed: the distance's error is below 0.1 by then


def describe(source: Source, alignment: Alignment | None = None) -> Adaptation | None:
    """The domains before and after an alignment of them; None where there is only one."""
    problem = source.problem if source.transductive else source.raw
    marks = in_target(problem)
    unlabelled = problem.X[:0] if problem.target is None else problem.target
    target = np.concatenate([unlabelled, problem.X[marks]])
    if not len(target) or marks.all():
        return None
    ours = problem.X[~marks]
    return Adaptation(
        a_distance_before=_distance(ours, target, problem.seed),
        a_distance_after=None if alignment is None else _after(problem, alignment, target),
        source_examples=len(ours),
        target_examples=len(unlabelled),
        target_labelled=int(marks.sum()),
        estimate_domain="target" if (judged_rows(problem) & marks).any() else "source",
        effective_sample_size=None if alignment is None else _worth(alignment),
    )


def _worth(alignment: Alignment) -> float | None:
    return None if alignment.weights is None else effective_sample_size(alignment.weights)


def _after(problem: Problem, alignment: Alignment, target: Rows) -> float | None:
    """Between the moved source and the target, in the alignment's view.

    Weighted rows are drawn by their weights, without replacement: as many as they are worth.
    """
    ours = np.asarray(alignment.move(problem.X[~in_target(problem)]))
    if alignment.weights is not None:
        share = alignment.weights / alignment.weights.sum()
        count = min(round(effective_sample_size(share)), int((share > 0).sum()))
        ours = ours[np.random.default_rng(problem.seed).choice(len(ours), count, replace=False, p=share)]
    if alignment.view is not None:
        ours, target = ours @ alignment.view, target @ alignment.view
    return _distance(ours, target, problem.seed)


def _distance(ours: Rows, theirs: Rows, seed: int) -> float | None:
    rng = np.random.default_rng(seed)
    ours, theirs = (rows[rng.permutation(len(rows))[:_MOST_ROWS]] for rows in (ours, theirs))
    found = proxy_a_distance(ours, theirs, seed)
    return None if found is None else found.value
