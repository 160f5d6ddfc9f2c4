"""Published artefacts: folders by digest, complete or absent."""

from __future__ import annotations

import logging
from pathlib import Path

from models.errors import CorruptArtefact
from models.manifest import MANIFEST, REPORT, Manifest
from models.store import publish_folder, verify_files

log = logging.getLogger(__name__)


class Artefacts:
    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    def local(self, digest: str) -> Path:
        """A folder of this machine that holds it."""
        return self.folder(digest)

    def admit(self, output: Path) -> Manifest:
        """Verify what a job wrote and move it under its digest, durably. Raises CorruptArtefact."""
        manifest = _read(output)
        verify_files(output, manifest.files)
        (output / REPORT).unlink(missing_ok=True)  # holds timings: not part of the artefact's identity
        publish_folder(output, self.folder(manifest.digest))
        return manifest

    def load(self, digest: str) -> tuple[Manifest, dict[str, bytes]]:
        """A manifest and its files, each checked against its digest. Raises CorruptArtefact."""
        manifest = self.manifest(digest)
        return manifest, verify_files(self.folder(digest), manifest.files)

    def manifest(self, digest: str) -> Manifest:
        """A manifest alone, checked against its digest. Raises CorruptArtefact."""
        manifest = _read(self.folder(digest))
        if manifest.digest != digest:
            raise CorruptArtefact("An artefact's manifest does not match its digest.")
        return manifest


def _read(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptArtefact("An artefact has no readable manifest.json.") from error
