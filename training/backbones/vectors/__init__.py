"""vectors/<name>: word vectors from a file (word2vec, GloVe, fastText), averaged into sentence embeddings.

Needs no torch. Nothing appears under its id before the graph computes what NumPy computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from models.backbone import BackboneCard
from models.backbone import read_card as read_card
from models.backbone import write_backbone as write_backbone
from models.base import sha256 as sha256
from models.errors import Conflict as Conflict
from models.errors import InvalidInput
from models.store import publish_folder as publish_folder
from training.backbones.draft import Draft as Draft
from training.backbones.draft import card_of, place
from training.backbones.draft import prove as prove
from training.backbones.source import staged as staged
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
    card = card_of(f"vectors/{name}", made, "unknown", "word vectors from a local file")
    return place(card, made, root, emit)


def read(path: Path, most: int = MOST) -> Vectors:
    """The vectors in a file, its format told by its first bytes and its ending. Raises InvalidInput."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == fasttext.MAGIC:
        return fasttext.read(path, most)
    return word2vec.read(path, most) if path.suffix == ".bin" else text.read(path, most)


def _counts(path: Path | None) -> dict[str, int] | None:
    return None if path is None else frequencies.read(path)
