"""The kinds of input Durian reads: one implementation for uploads, training and serving.

Decoders (Pillow, libsndfile, soxr, tokenizers) are imported on first use: a process pays only for what
it reads.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.backbone import BackboneCard
from models.errors import InvalidRequest
from models.modalities import audio, image, signal, text
from models.modalities.base import Modality, Preprocessor
from models.modalities.media import media_bytes

__all__ = ["MODALITIES", "media_bytes", "modality", "preprocessor", "register"]

MODALITIES: dict[str, Modality] = {}


def register(entry: Modality) -> None:
    """Add a modality. Raises ValueError when its name is taken."""
    if entry.name in MODALITIES:
        raise ValueError(f"modality {entry.name} is registered twice")
    MODALITIES[entry.name] = entry


for module in (text, image, audio, signal):
    register(module.MODALITY)


def modality(name: str) -> Modality:
    """The registered modality. Raises InvalidRequest `unknown_modality`."""
    if name not in MODALITIES:
        known = ", ".join(MODALITIES)
        raise InvalidRequest(
            f"The modality must be one of {known}.", code="unknown_modality", param="modality"
        )
    return MODALITIES[name]


def preprocessor(card: BackboneCard, files: Mapping[str, bytes]) -> Preprocessor:
    """What turns canonical inputs into the feeds of this backbone. Raises CorruptArtefact."""
    return MODALITIES[card.preprocess.kind].preprocessor(card, files)
