"""Classes without examples: handwritten digits told apart by what their shapes have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from training.frame import Frame
from training.heads import Head
from training.methods.attribute_embedding import EmbeddingHyperparameters
from training.methods.attribute_embedding import fit as fit_embedding
from training.methods.attributes import AttributesHyperparameters
from training.methods.attributes import fit as fit_attributes
from training.methods.base import Problem
from training.methods.conse import ConseHyperparameters
from training.methods.conse import fit as fit_conse

Array = NDArray[np.float64]
# The segments a to g of a pocket calculator, then: a loop, two loops, a loop on top, one at the bottom.
_SHAPES = (
    "1111110 1000",
    "0110000 0000",
    "1101101 0000",
    "1111001 0000",
    "0110011 0000",
    "1011011 0000",
    "1011111 1001",
    "1110000 0000",
    "1111111 1111",
    "1111011 1010",
)
TABLE = np.array([[float(bit) for bit in row.replace(" ", "")] for row in _SHAPES])
_COLUMNS = [f"attribute {i}" for i in range(TABLE.shape[1])]
_GIVEN = {str(digit): dict(zip(_COLUMNS, row, strict=True)) for digit, row in enumerate(TABLE.tolist())}
_BAR = 40.0

_WAYS: dict[str, Callable[[Problem, Array, Array], Head]] = {
    "attributes": lambda *parts: fit_attributes(*parts, AttributesHyperparameters(attributes=_GIVEN)),
    "attribute_embedding, hinge": lambda *parts: fit_embedding(*parts, _embedding("hinge")),
    "attribute_embedding, ridge": lambda *parts: fit_embedding(*parts, _embedding("ridge")),
    "attribute_embedding, eszsl": lambda *parts: fit_embedding(*parts, _embedding("eszsl")),
    "conse": lambda *parts: fit_conse(*parts, ConseHyperparameters(attributes=_GIVEN)),
}


def _embedding(loss: Any) -> EmbeddingHyperparameters:
    return EmbeddingHyperparameters(attributes=_GIVEN, loss=loss)


@benchmark("Zero-shot: digits by their shapes")
def zero_shot(setup: Setup) -> Iterator[Row]:
    """UCI digits (scikit-learn), raw pixels, 11 attributes (seven segments, loops): seven digits with all
    their examples, three with none; mean accuracy in per cent over the 120 ways to choose the three. It tests
    that the methods are right, and is no showcase: chance is 33.3.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    splits = list(combinations(range(10), 3))[:: 1 if not setup.quick else 20]
    for name, fit in _WAYS.items():
        found = [_accuracy(digits.data / 16, digits.target, split, fit) for split in splits]
        yield Row(what=name, value=100 * float(np.mean(found)), unit="%", at_least=_BAR)


def _accuracy(
    X: Array, y: NDArray[np.int64], unseen: tuple[int, ...], fit: Callable[[Problem, Array, Array], Head]
) -> float:
    seen = [digit for digit in range(10) if digit not in unseen]
    known = np.isin(y, seen)
    frame = Frame.of(X[known])
    labels = tuple(map(str, seen))
    problem = Problem(frame.enter(X[known]), np.searchsorted(seen, y[known]), "classification", labels)
    head = fit(problem, TABLE[seen], TABLE[list(unseen)])
    answers = np.array(unseen)[head.logits(frame.enter(X[~known])).argmax(axis=1)]
    return float((answers == y[~known]).mean())
