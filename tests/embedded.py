"""The embedded backbones for tests: those of the last set-up where they are up to date, else new ones."""

from __future__ import annotations

from pathlib import Path

from training.backbones import EMBEDDED, setup
from training.backbones.source import current

BUILT = Path(__file__).parent.parent / "build" / "backbones"


def backbones_root(scratch: Path) -> Path:
    """A folder with every embedded backbone; `scratch` is used where set-up has not run."""
    if all(current(BUILT / source.id) for source in EMBEDDED):
        return BUILT
    setup(scratch, emit=lambda line: None)
    return scratch
