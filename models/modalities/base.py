"""What every modality does, once, for uploads, training and serving alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.backbone import BackboneCard
from models.base import ModalityName
from models.errors import DurianError
from models.manifest import InputSpec

Prepared = NDArray[np.generic]
"""One example, ready to be stacked with others into the backbone's input."""

Feeds = dict[str, NDArray[np.generic]]
"""Graph input name -> batch."""


class Empty(Protocol):
    """`numpy.empty`, or what gives arrays in memory of another kind."""

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]: ...


def stacked(batch: Sequence[Prepared], empty: Empty = np.empty) -> NDArray[np.generic]:
    """Examples of one shape as an array [n, ...]."""
    first = batch[0]
    return np.stack(batch, out=empty((len(batch), *first.shape), first.dtype))


class Preprocessor(Protocol):
    """Canonical bytes -> the feeds of one backbone."""

    def prepare(self, content: bytes, where: str = "input") -> Prepared:
        """One example, decoded, checked and resized. Thread-safe.

        `where` names it in messages. Raises as `Modality.canonical`.
        """
        ...

    def size(self, prepared: Prepared) -> int:
        """What the example costs next to others of its backbone (tokens; 1 where all are equal)."""
        ...

    def collate(self, batch: Sequence[Prepared], empty: Empty = np.empty) -> Feeds:
        """A batch for the graph, padded where lengths differ, in arrays that `empty` gives."""
        ...


@runtime_checkable
class ManyAtOnce(Protocol):
    """A preprocessor that is faster with several examples than with one after the other."""

    def prepare_many(
        self, contents: Sequence[bytes], places: Sequence[str]
    ) -> Sequence[Prepared | DurianError]:
        """`Preprocessor.prepare` of each example, `places` their names; an error in the place of those that
        are wrong."""
        ...


class Modality(Protocol):
    """One kind of input: how an uploaded value becomes canonical bytes, and those a backbone's feeds."""

    @property
    def name(self) -> ModalityName: ...

    def canonical(self, value: object, spec: InputSpec, where: str) -> bytes:
        """Validate one input and give its canonical bytes (equal bytes mean the same example).

        `value` is a string (text; for media base64 or a data URL), raw bytes, or for signals a list of
        numbers or `{"grid": [...], "values": [...]}`. `where` names the row or field in messages.
        Raises InvalidInput, UnsupportedMedia or TooLarge.
        """
        ...

    def content(self, value: object, spec: InputSpec, where: str) -> bytes:
        """What `canonical` gives, without a third-party decoder: of media the kind alone is checked, and
        `Preprocessor.prepare` finds whatever else is wrong.

        Raises as `canonical`.
        """
        ...

    def preprocessor(self, card: BackboneCard, files: Mapping[str, bytes]) -> Preprocessor:
        """The preprocessor that a backbone's card asks for; `files` are its folder's verified files.

        Raises CorruptArtefact when a file it needs is missing or unreadable.
        """
        ...
