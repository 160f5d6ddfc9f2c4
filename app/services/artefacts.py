"""Published artefacts: folders by digest, complete or absent."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from models.disk import Disk
from models.errors import CorruptArtefact
from models.manifest import MANIFEST, REPORT, Manifest, read_manifest
from models.store import publish_folder, set_aside, verify_files

log = logging.getLogger(__name__)


class Artefacts:
    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk(root)

    def folder(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    def local(self, digest: str) -> Path:
        """A folder of this machine that holds it."""
        return self.folder(digest)

    def admit(self, output: Path) -> Manifest:
        """Verify what a job wrote and move it under its digest, durably.

        One that is there already stays, unless it has rotted: then this one takes its place. Raises
        CorruptArtefact, InsufficientStorage, and Unavailable when the storage failed.
        """
        manifest = _read(output)
        verify_files(output, manifest.files)
        with self.disk.writing():
            (output / REPORT).unlink(missing_ok=True)  # holds timings: not part of the artefact's identity
            self._clear(manifest.digest)
            publish_folder(output, self.folder(manifest.digest))
        return manifest

    def _clear(self, digest: str) -> None:
        """Make way where what lies under a digest is not what it says."""
        folder = self.folder(digest)
        if not folder.exists():
            return
        try:
            self.load(digest)
        except CorruptArtefact:
            log.error("the artefact %s has rotted on the disk; it is replaced", digest)
            shutil.rmtree(set_aside(folder).parent)

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
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise CorruptArtefact("An artefact has no readable manifest.json.") from error
    return read_manifest(data)
