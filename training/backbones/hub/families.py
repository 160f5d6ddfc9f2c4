"""Which kinds of networks can be added, by the `model_type` of their config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.backbones.draft import Draft
from training.backbones.hub import audio, image, spectrogram, text
from training.backbones.hub.files import refused
from training.backbones.hub.torch_side import load

KINDS: tuple[Any, ...] = (text, image, audio, spectrogram)


def draft(folder: Path, config: dict[str, Any]) -> Draft:
    """The backbone of a checked folder. Raises InvalidInput (code `architecture`) for other networks."""
    family = str(config.get("model_type"))
    for kind in KINDS:
        if family in kind.FAMILIES:
            made: Draft = kind.draft(folder, load(folder))
            return made
    known = ", ".join(sorted(name for kind in KINDS for name in kind.FAMILIES))
    raise refused(f"A network of this architecture cannot be added, only {known}.", "architecture")
