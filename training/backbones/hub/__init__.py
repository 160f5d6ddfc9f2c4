"""hub/<organisation>/<model>: encoders published on the Hugging Face hub, downloaded or from a local folder.

Only safetensors are read and no code of the model's own is run. torch and transformers are needed to add
a backbone, never to serve it. Nothing appears under its id before it computes what the original computes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from models.backbone import BackboneCard
from models.backbone import read_card as read_card
from models.backbone import write_backbone as write_backbone
from models.base import sha256 as sha256
from models.errors import Conflict as Conflict
from models.errors import InvalidInput, Unavailable
from models.store import publish_folder as publish_folder
from training.backbones.draft import Draft, card_of, place
from training.backbones.draft import prove as prove
from training.backbones.hub.files import check_folder, licence_of
from training.backbones.source import staged as staged

PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
NAME = re.compile(rf"{PART}/{PART}")


def add(name: str, *, weights: Path | None, root: Path, emit: Callable[[str], object]) -> BackboneCard:
    """Add `hub/<name>` under `root`, whole or not at all; adding the same again is no error.

    `weights` is a folder as `save_pretrained` writes it, in place of a download. Raises InvalidInput or
    TooLarge naming what does not fit, NotFound for an unknown model, Unavailable without network or torch,
    Conflict when another backbone has that id, CorruptArtefact where the export differs from the original.
    """
    if not NAME.fullmatch(name):
        message = "A hub id is hub/<organisation>/<model>: letters, digits, dots, dashes and underscores."
        raise InvalidInput(message, code="backbone_id", param="id")
    with redirect_stdout(sys.stderr):  # stdout is for answers; the libraries print there
        folder, origin = (weights, "from a local folder") if weights else _download(name, emit)
        config = check_folder(folder)
        emit(f"hub/{name}: exporting")
        draft = _draft(folder, config)
        card = card_of(f"hub/{name}", draft, licence_of(folder), f"{name}, {origin}")
        return place(card, draft, root, emit)


def _download(name: str, emit: Callable[[str], object]) -> tuple[Path, str]:
    from training.backbones.hub.download import download

    emit(f"hub/{name}: downloading")
    folder = download(name)
    return folder, f"revision {folder.name[:12]} of the Hugging Face hub"


def _draft(folder: Path, config: dict[str, object]) -> Draft:
    try:
        from training.backbones.hub.families import draft
    except ImportError:
        message = "Adding a model of the hub needs torch and transformers: install durian[torch]."
        raise Unavailable(message, code="no_torch") from None
    return draft(folder, config)
