"""What every reader of word vectors gives, and the checks that all share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidInput

UNKNOWN = "<unknown word>"
"""The tokenizer's entry for row 0: no text holds it as one word, since it has spaces."""

Entry = tuple[str, bytes, NDArray[np.float32]]
"""Where in the file, the word, its vector [D]."""


@dataclass(frozen=True)
class Ngrams:
    """fastText's rows for n-grams, float32 [buckets, D], perhaps still on disk."""

    shortest: int
    longest: int
    rows: NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """Words, most frequent first, their vectors [W, D] and, where the file tells, their probabilities [W]."""

    words: tuple[str, ...]
    rows: NDArray[np.float32]
    probabilities: NDArray[np.float64] | None = None
    ngrams: Ngrams | None = None
    total: int = 0
    """Words of the whole file, kept or not."""


def collect(entries: Iterator[Entry], most: int) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The first `most` entries. Raises InvalidInput naming the first bad one."""
    words: dict[str, None] = {UNKNOWN: None}
    rows = []
    for where, raw, vector in islice(entries, most):
        word = _decode(raw, where)
        if word in words:
            raise bad(where, "the word stands in the file twice. Remove one of the two.")
        check_finite(vector, where)
        words[word] = None
        rows.append(vector)
    if not rows:
        raise InvalidInput("The file has no word vectors.", code="vectors", param="weights")
    return tuple(words)[1:], np.stack(rows)


def check_finite(values: NDArray[np.floating[Any]], where: str) -> None:
    if not np.isfinite(values).all():
        raise bad(where, "a value is NaN or infinite. Export the vectors again.")


def _decode(raw: bytes, where: str) -> str:
    try:
        word = raw.decode()
    except UnicodeDecodeError:
        raise bad(where, "the word is not UTF-8. Save the file as UTF-8.") from None
    if not word.strip():
        raise bad(where, "the word is empty. Remove it.")
    return word


def bad(where: str, problem: str) -> InvalidInput:
    return InvalidInput(f"{where}: {problem}", code="vectors", param="weights")


def relative(words: Iterable[str], counts: dict[str, int]) -> NDArray[np.float64]:
    """Probabilities of `words` among all that `counts` counts; 0 where it does not know one."""
    total = max(1, sum(counts.values()))
    return np.array([counts.get(word, 0) / total for word in words])


def zipf(kept: int, total: int) -> NDArray[np.float64]:
    """Probabilities by Zipf's law, p(r) = 1 / (r H_total), of the first `kept` ranks of `total`."""
    ranks = np.arange(1, total + 1)
    return np.asarray(1 / (ranks[:kept] * (1 / ranks).sum()))
