"""Sources of backbones. What comes with Durian is listed here; one file a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.backbone import BackboneCard
from training.backbones import baselines, minilm
from training.backbones.source import EmbeddedSource, current, install

EMBEDDED: tuple[EmbeddedSource, ...] = (minilm.SOURCE, *baselines.SOURCES)


def setup(root: Path, emit: Callable[[str], object] = print) -> list[BackboneCard]:
    """Write every embedded backbone into `root/<family>/<name>` that is missing, damaged or out of date.

    Reports each to `emit`. Raises CorruptArtefact where an export does not match its recorded reference.
    """
    cards = []
    for source in EMBEDDED:
        card = current(root / source.id)
        emit(f"{source.id}: {'up to date' if card else 'exporting'}")
        if card is None:
            exported = source.export()
            install(exported, root)
            card = exported.card
        cards.append(card)
    return cards
