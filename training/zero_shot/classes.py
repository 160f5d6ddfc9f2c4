"""What is known of classes besides examples: a row of attributes each, or the embedding of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.dataset import Pack, plain_text
from models.errors import JobFailed
from models.manifest import InputSpec

if TYPE_CHECKING:
    from training.job import Job

Table = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Classes:
    """Names with a vector each: `vectors` float64 [K, A]."""

    names: tuple[str, ...]
    vectors: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, names: Sequence[str]) -> Classes:
        """Those named, in that order. Raises KeyError."""
        place = {name: row for row, name in enumerate(self.names)}
        return Classes(tuple(names), self.vectors[[place[name] for name in names]])

    def without(self, names: Sequence[str]) -> Classes:
        """All but those named, in sorted order."""
        return self.take(sorted(set(self.names) - set(names)))


def from_table(table: Table) -> Classes:
    """The rows of a class x attribute table, columns in sorted order.

    Raises JobFailed (`class_table`) when rows differ in their columns.
    """
    names = tuple(sorted(table))
    columns = sorted(table[names[0]])
    if any(sorted(table[name]) != columns for name in names):
        raise JobFailed("The rows of the attribute table do not have the same columns.", code="class_table")
    return Classes(names, np.array([[float(table[name][column]) for column in columns] for name in names]))


def from_names(job: Job, names: Sequence[str]) -> Classes:
    """The names as unit vectors of the job's text backbone."""
    choice = job.spec.text_backbone
    if choice is None:
        raise JobFailed("There is no text backbone to embed the class names in.", code="no_backbone")
    ordered = tuple(sorted(set(names)))
    vectors = job.embed(choice, text_pack([plain_text(name) for name in ordered]))[choice.taps[0]]
    return Classes(ordered, unit(vectors))


def text_pack(texts: Sequence[str]) -> Pack:
    """Unlabelled texts as examples."""
    contents = tuple(text.encode() for text in texts)
    return Pack("classification", InputSpec(modality="text"), contents, (None,) * len(contents))


def unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of length 1; a row of zeros stays."""
    rows = np.asarray(vectors, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))
