"""Whether the ranking before training agrees with the accuracy after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean

import numpy as np
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression

from models.fitspec import BackboneChoice
from models.recommendation import TapCandidate
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.representations import Array, digits
from tests.benchmarks.results import Row
from training.methods.base import Problem
from training.relatedness.rank import rank
from training.source import Source

_TAU = {5: 0.75, 20: 0.85}
_LABELS = tuple("0123456789")


@benchmark("Task relatedness: ranking 16 representations of digits")
def relatedness(setup: Setup) -> Iterator[Row]:
    """What `POST /v1/recommendations` says from the examples alone, against the accuracy of scikit-learn's
    logistic regression (C = 10, the features centred and of unit mean square norm) on all other digits.
    tau is Kendall's over the 16; regret is what its first choice loses to the best, in points of accuracy.
    The score in use is LogME; the other two are there to compare.
    """
    representations, y = digits()
    draws = setup.amount(20, 2)
    for shots, bar in _TAU.items():
        found = [_draw(representations, y, shots, seed) for seed in range(draws)]
        for score in ("logme", "loo", "h_score"):
            taus, regrets = zip(*(_agreement(one, score) for one in found), strict=True)
            yield Row(
                what=f"{_NAMES[score]}, {shots} examples a digit, tau",
                value=mean(taus),
                digits=2,
                at_least=bar if score == "logme" else None,
                how=f"mean of {draws} draws, {min(taus):.2f} to {max(taus):.2f}; regret {mean(regrets):.1f}",
            )


_NAMES = {"logme": "LogME", "loo": "leave-one-out accuracy", "h_score": "H-score"}
_Draw = Mapping[str, tuple[TapCandidate, float]]


def _draw(representations: Mapping[str, Array], y: Array, shots: int, seed: int) -> _Draw:
    """Each representation's scores on a draw, and its accuracy on the rest."""
    rng = np.random.default_rng(1000 + seed)
    drawn = np.concatenate([rng.permutation(np.flatnonzero(y == digit))[:shots] for digit in range(10)])
    rest = np.setdiff1d(np.arange(len(y)), drawn)
    choice = BackboneChoice(id="digits", digest="digits", folder="", taps=tuple(representations))
    sources = [
        Source(choice, name, Problem(X[drawn], y[drawn], "classification", _LABELS))
        for name, X in representations.items()
    ]
    ranked = rank(sources, {"digits": "pixels"})
    return {one.tap: (one, _accuracy(representations[one.tap], y, drawn, rest)) for one in ranked}


def _accuracy(X: Array, y: Array, drawn: Array, rest: Array) -> float:
    centred = X - X[drawn].mean(axis=0)
    centred = centred / np.sqrt((centred[drawn] ** 2).sum(axis=1).mean())
    head = LogisticRegression(C=10, max_iter=1000).fit(centred[drawn], y[drawn])
    return float(100 * head.score(centred[rest], y[rest]))


def _agreement(draw: _Draw, score: str) -> tuple[float, float]:
    """tau, and the regret of the highest score."""
    scores = [_value(candidate, score) for candidate, _ in draw.values()]
    accuracies = [accuracy for _, accuracy in draw.values()]
    tau = float(kendalltau(scores, accuracies).statistic)
    return tau, max(accuracies) - accuracies[int(np.argmax(scores))]


def _value(candidate: TapCandidate, score: str) -> float:
    found = candidate.loo.value if score == "loo" and candidate.loo else getattr(candidate, score)
    return float(found)
