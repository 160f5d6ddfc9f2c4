"""torchvision/<name>: the image classifiers of torchvision, without their last layer.

torch and torchvision are needed to add a backbone, never to serve it. Nothing appears under its id before
it computes what the original computes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from models.backbone import BackboneCard
from models.backbone import read_card as read_card
from models.backbone import write_backbone as write_backbone
from models.base import sha256 as sha256
from models.errors import Conflict as Conflict
from models.errors import Unavailable
from models.store import publish_folder as publish_folder
from training.backbones.draft import Draft as Draft
from training.backbones.draft import card_of, place
from training.backbones.draft import prove as prove
from training.backbones.source import staged as staged


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
        card = card_of(f"torchvision/{name}", draft, classifier.licence(source), source)
        return place(card, draft, root, emit)
