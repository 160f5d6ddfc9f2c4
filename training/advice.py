"""Of which classes are more examples worth most? From the errors out of fold.

A class's errors are taken to fall as the inverse square root of its examples, so that five more of a
class with n save e (1 - sqrt(n / (n + 5))) of its error rate e. All classes count alike, however many
examples they have. Errors are of both kinds, missed and wrongly claimed, with one imagined error in two
added: little is known of a class that was hardly tested, and more of it is worth much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.evaluate import Evidence
from training.methods.base import Problem
from training.reporting import marks

MORE = 5
_NAMED = 3  # classes, at most


def advice(problem: Problem, evidence: Evidence) -> tuple[str, ...]:
    """A sentence a class, worth most first; none where nothing was mistaken, or there are no classes.

    `problem` has all the examples, those that could not be tested too.
    """
    if problem.task == "regression" or problem.labels != evidence.problem.labels:
        return ()
    actual, predicted = marks(evidence)
    missed, claimed = (actual & ~predicted).sum(axis=0), (predicted & ~actual).sum(axis=0)
    examples, tested = problem.targets.sum(axis=0), actual.sum(axis=0)
    gains = _gains(examples, missed + claimed, tested + predicted.sum(axis=0))
    order = np.argsort(-gains, kind="stable")
    named = [c for c in order if missed[c] + claimed[c] or not tested[c]][:_NAMED]
    return tuple(
        f"{MORE} more of {problem.labels[c]} are worth {'next ' * (place > 0)}most: "
        f"{_why(missed[c], claimed[c], tested[c])}."
        for place, c in enumerate(named)
    )


def _gains(
    examples: NDArray[np.float64], errors: NDArray[np.int64], chances: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much of each class's error rate [C] would go with more examples of it."""
    rate = (errors + 1) / (chances + 2)
    return np.asarray(rate * (1 - np.sqrt(examples / (examples + MORE))))


def _why(missed: int, claimed: int, tested: int) -> str:
    if not tested:
        return "its only example could not be tested"
    return f"{missed} of {tested} were missed, and {claimed} others taken for it"
