"""vectors/<name>: word vectors from a file (word2vec, GloVe, fastText), averaged into sentence embeddings.

Needs no torch. Nothing appears under its id before the graph computes what NumPy computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from models.backbone import BackboneCard, read_card, write_backbone
from models.base import sha256
from models.errors import Conflict, InvalidInput
from models.store import publish_folder
from training.backbones.hub.draft import Draft, prove
from training.backbones.source import staged
from training.backbones.vectors import fasttext, frequencies, text, word2vec
from training.backbones.vectors.draft import draft_of
from training.backbones.vectors.table import Vectors

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MOST = 200_000


def add(
    name: str,
    *,
    weights: Path | None,
    root: Path,
    emit: Callable[[str], object],
    frequencies: Path | None = None,
    most: int = MOST,
) -> BackboneCard:
    """Add `vectors/<name>` under `root`, whole or not at all; adding the same again is no error.

    Word probabilities come from `frequencies`, else from the file (fastText's `.bin`), else from Zipf's
    law over its order. Only the `most` first words are kept. Raises InvalidInput naming the line or word
    that does not fit, TooLarge, Conflict when another backbone has that id.
    """
    if not NAME.fullmatch(name):
        message = "A name has 1 to 64 lower-case letters, digits, dots, dashes or underscores."
        raise InvalidInput(message, code="backbone_id", param="id")
    if weights is None or not weights.is_file():
        message = "Word vectors are not downloaded: give their file (.txt, .vec or .bin) as weights."
        raise InvalidInput(message, code="vectors", param="weights")
    if most < 1:
        raise InvalidInput("Keep at least one word.", code="most", param="most")
    vectors = read(weights, most)
    emit(f"vectors/{name}: keeping {len(vectors.words):,} of {vectors.total:,} words")
    made = draft_of(vectors, _counts(frequencies))
    return _place(_card(name, made), made, root)


def read(path: Path, most: int = MOST) -> Vectors:
    """The vectors in a file, its format told by its first bytes and its ending. Raises InvalidInput."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == fasttext.MAGIC:
        return fasttext.read(path, most)
    return word2vec.read(path, most) if path.suffix == ".bin" else text.read(path, most)


def _counts(path: Path | None) -> dict[str, int] | None:
    return None if path is None else frequencies.read(path)


def _card(name: str, made: Draft) -> BackboneCard:
    return BackboneCard(
        id=f"vectors/{name}",
        modality="text",
        preprocess=made.preprocess,
        input=made.input,
        taps=made.taps,
        default_tap=made.taps[-1].name,
        parameters=made.parameters,
        licence="unknown",
        source="word vectors from a local file",
        files={file: sha256(data) for file, data in made.files.items()},
    )


def _place(card: BackboneCard, made: Draft, root: Path) -> BackboneCard:
    """Write the backbone aside, prove it there, then publish it. A failed one leaves nothing."""
    target = root / card.id
    if not target.exists():
        with staged(target.parent) as folder:
            write_backbone(folder, card, made.files)
            prove(folder, made)
            publish_folder(folder, target)
    there = read_card(target)
    if there.digest != card.digest:
        message = "Another backbone has that id: choose a new one, or delete the old one first."
        raise Conflict(message, code="name_taken", param="id")
    return there
