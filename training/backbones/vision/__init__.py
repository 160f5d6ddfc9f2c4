"""torchvision/<name>: the image classifiers of torchvision, without their last layer.

torch and torchvision are needed to add a backbone, never to serve it. Nothing appears under its id before
it computes what the original computes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from models.backbone import BackboneCard, read_card, write_backbone
from models.base import sha256
from models.errors import Conflict, Unavailable
from models.store import publish_folder
from training.backbones.hub.draft import Draft, prove
from training.backbones.source import staged


def add(name: str, *, weights: Path | None, root: Path, emit: Callable[[str], object]) -> BackboneCard:
    """Add `torchvision/<name>` under `root`, whole or not at all; adding the same again is no error.

    `weights` is a file of weights (a state dict that torch saved, or safetensors) in place of the official
    ones. Raises NotFound for an unknown name, InvalidInput or TooLarge naming what does not fit,
    Unavailable without network or torch, Conflict when another backbone has that id, CorruptArtefact where
    a checksum or the export differs.
    """
    with redirect_stdout(sys.stderr):  # stdout is for answers; the libraries may print there
        try:
            from training.backbones.vision import network, origin
        except ImportError:
            message = "Adding a torchvision model needs torch and torchvision: install durian[torch]."
            raise Unavailable(message, code="no_torch") from None
        classifier = origin.find(name)
        emit(f"torchvision/{name}: {'reading' if weights else 'fetching'} weights")
        net, source = origin.load(classifier, weights)
        emit(f"torchvision/{name}: exporting")
        draft = network.draft(net, classifier.preprocess, classifier.scaling)
        return _place(_card(name, draft, classifier.licence(source), source), draft, root, emit)


def _card(name: str, draft: Draft, licence: str, source: str) -> BackboneCard:
    return BackboneCard(
        id=f"torchvision/{name}",
        modality="image",
        preprocess=draft.preprocess,
        input=draft.input,
        taps=draft.taps,
        default_tap=draft.taps[-1].name,
        parameters=draft.parameters,
        licence=licence,
        source=source,
        files={file: sha256(data) for file, data in draft.files.items()},
    )


def _place(card: BackboneCard, draft: Draft, root: Path, emit: Callable[[str], object]) -> BackboneCard:
    """Write the backbone aside, prove it there, then publish it. A failed one leaves nothing."""
    target = root / card.id
    if not target.exists():
        with staged(target.parent) as folder:
            write_backbone(folder, card, draft.files)
            worst = prove(folder, draft)
            emit(f"{card.id}: differs from the original by at most {worst:.1e}")
            publish_folder(folder, target)
    there = read_card(target)
    if there.digest != card.digest:
        message = "Another backbone has that id: delete the old one first."
        raise Conflict(message, code="name_taken", param="id")
    return there
