"""The backbones there are: found in several folders, seen anew when one is added or replaced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.backbone import CARD, BackboneCard, read_card
from models.errors import CorruptArtefact, NotFound
from models.store import TEMPORARY

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "backbones"
"""Backbones that lie in the repository itself."""

RESCAN_SECONDS = 0.5
Entry = tuple[BackboneCard, Path]
Place = tuple[str, Path]
"""The id that a folder's place under its root gives it, and the folder."""
Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _Scan:
    """What lay in the folders, and by what signs that is known to be so still."""

    signature: Signature = ()
    by_id: dict[str, Entry] = field(default_factory=dict)
    by_digest: dict[str, Entry] = field(default_factory=dict)


class Shelf:
    """Backbones in `<root>/<id>/card.json`, ids of two or three parts. The first root wins.

    The folders are looked at again at most twice a second, and at once for an id that is not known, so a
    running service sees what the command line imports. Thread-safe. A broken backbone is left out with
    a warning in the log.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._lock = threading.Lock()
        self._scan: _Scan | None = None
        self._looked = 0.0

    def list(self) -> list[BackboneCard]:
        """Every card, by id."""
        return [card for _, (card, _) in sorted(self._current().by_id.items())]

    def get(self, id: str) -> Entry:
        """The card and folder of a backbone. Raises NotFound naming the ids that exist."""
        entry = self._current().by_id.get(id) or self._current(now=True).by_id.get(id)
        if entry is None:
            known = ", ".join(sorted(self._current().by_id)) or "none; run `durian backbones setup`"
            raise NotFound(f"There is no such backbone. Available: {known}.", code="backbone_not_found")
        return entry

    def by_digest(self, digest: str) -> Entry:
        """The card and folder of the backbone that computes this. Raises NotFound."""
        entry = self._current().by_digest.get(digest) or self._current(now=True).by_digest.get(digest)
        if entry is None:
            message = "The backbone of this digest is not installed: set it up or import it again."
            raise NotFound(message, code="backbone_not_found")
        return entry

    def _current(self, *, now: bool = False) -> _Scan:
        """The last scan, made anew where the folders have changed since."""
        with self._lock:
            fresh = time.monotonic() - self._looked < RESCAN_SECONDS
            if self._scan is None or now or not fresh:
                places = [place for root in self.roots for place in backbone_folders(root)]
                signature = tuple(map(_sign, places))
                if self._scan is None or signature != self._scan.signature:
                    self._scan = _read(places, signature)
                self._looked = time.monotonic()
            return self._scan


def backbone_folders(root: Path) -> Iterator[Place]:
    """Folders with a card, in order; half-written ones have temporary names."""
    for card in sorted([*root.glob(f"*/*/{CARD}"), *root.glob(f"*/*/*/{CARD}")]):
        names = card.parent.relative_to(root).parts
        if not any(name.startswith(TEMPORARY) for name in names):
            yield "/".join(names), card.parent


def _sign(place: Place) -> tuple[str, int, int]:
    """Changes whenever the folder is replaced or its card is written again."""
    _, folder = place
    try:
        here = (folder / CARD).stat()
    except FileNotFoundError:
        return str(folder), 0, 0
    return str(folder), here.st_ino, here.st_mtime_ns


def _read(places: Sequence[Place], signature: Signature) -> _Scan:
    scan = _Scan(signature)
    for id, folder in places:
        try:
            card = _checked(id, folder)
        except CorruptArtefact as error:
            log.warning("backbone %s is left out: %s", id, error.message)
            continue
        scan.by_id.setdefault(card.id, (card, folder))
        scan.by_digest.setdefault(card.digest, (card, folder))
    return scan


def _checked(id: str, folder: Path) -> BackboneCard:
    """The card of a complete folder. Raises CorruptArtefact. Contents are verified when they are loaded."""
    card = read_card(folder)
    if card.id != id:
        raise CorruptArtefact("its card names another backbone.")
    for name in card.files:
        if not (folder / name).is_file():
            raise CorruptArtefact(f"the file {name} is missing.")
    return card
