"""A backbone in the making, and the gate that it must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.backbone import BackboneCard, Preprocess, Tap, read_card, write_backbone
from models.base import sha256
from models.errors import Conflict
from models.modalities.base import Prepared
from models.runtime import Backbone, Features
from models.store import publish_folder
from training.backbones.forms import place_of
from training.backbones.parity import check_parity
from training.backbones.source import staged, tidy

TOLERANCE = 1e-4  # of the largest value of a tap, or of 1 where that is less
DEPTHS = 6


@dataclass(frozen=True)
class Draft:
    """All that a backbone is but its name; with examples, and what the original makes of each alone."""

    files: dict[str, bytes]
    preprocess: Preprocess
    input: str
    taps: tuple[Tap, ...]
    parameters: int
    examples: Sequence[Prepared]
    expected: dict[str, Features]
    padding_free: bool = False


def card_of(backbone_id: str, draft: Draft, licence: str, source: str) -> BackboneCard:
    """The draft's card under its name; the last tap is the default one."""
    return BackboneCard(
        id=backbone_id,
        modality=draft.preprocess.kind,
        preprocess=draft.preprocess,
        input=draft.input,
        taps=draft.taps,
        default_tap=draft.taps[-1].name,
        parameters=draft.parameters,
        padding_free=draft.padding_free,
        licence=licence,
        source=source,
        files={file: sha256(data) for file, data in draft.files.items()},
    )


def place(card: BackboneCard, draft: Draft, root: Path, emit: Callable[[str], object]) -> BackboneCard:
    """Write the backbone aside, prove it there, then publish it under `root`; a failed one leaves nothing.

    The same backbone again is no error. Raises CorruptArtefact (`parity`), and Conflict when another one
    has that id.
    """
    target = root / card.id
    tidy(target.parent)
    if not target.exists():
        with staged(target.parent) as folder:
            write_backbone(folder, card, draft.files)
            emit(f"{card.id}: differs from the original by at most {prove(folder, draft):.1e}")
            publish_folder(folder, target)
    there = read_card(target)
    if there.digest != card.digest:
        message = "Another backbone has that id: choose a new one, or delete the old one first."
        raise Conflict(message, code="name_taken", param="id")
    return there


def levels(layers: int) -> list[int]:
    """The hidden states that become taps, the last one among them: all, or `DEPTHS` more, evenly spread."""
    steps = range(layers + 1)
    return [*steps] if layers <= DEPTHS else sorted({round(i * layers / DEPTHS) for i in range(DEPTHS + 1)})


def list_taps(expected: Mapping[str, Features], depths: Mapping[str, float]) -> tuple[Tap, ...]:
    """Taps of the widths that the original gave, at the depths of their places; others are at the top."""
    return tuple(
        Tap(name=name, dim=values.shape[1], depth=depths.get(place_of(name), 1.0))
        for name, values in expected.items()
    )


def prove(folder: Path, draft: Draft) -> float:
    """The largest difference of any tap from the original, relative to the tap's scale.

    The backbone runs on all examples in one batch (of mixed lengths where they have lengths) and on each
    alone. Raises CorruptArtefact (code `parity`) where either differs by more than `TOLERANCE`.
    """
    backbone = Backbone(folder)
    names = [tap.name for tap in draft.taps]
    together = backbone.run(draft.examples, names)
    alone = [backbone.run([example], names) for example in draft.examples]
    return max(
        _difference(f"{backbone.card.id} ({name})", got, draft.expected[name])
        for name in names
        for got in (together[name], np.concatenate([one[name] for one in alone]))
    )


def _difference(name: str, got: Features, expected: Features) -> float:
    scale = np.float32(max(1.0, float(np.abs(expected).max())))
    return check_parity(name, got / scale, expected / scale, TOLERANCE)
