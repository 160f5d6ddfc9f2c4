"""Blobs and artefacts in a bucket, with what this machine has used of them cached on its disk by digest.

The disk has the layout that it has without a bucket, so the training side and the sweep see no difference.
A blob is acknowledged when the bucket has it. Of an artefact the manifest is stored last: where that is, the
rest is.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from app.services.artefacts import Artefacts
from app.services.bucket import Bucket
from models.disk import Disk
from models.errors import CorruptArtefact, NotFound
from models.manifest import MANIFEST, Manifest, read_manifest
from models.store import TEMPORARY, BlobStore, publish_folder

BLOBS = "blobs"
ARTEFACTS = "artefacts"
RENEW_SECONDS = 1_200.0
"""What is named again at this age is stored again, so that no sweep takes it for forgotten."""

log = logging.getLogger(__name__)


def key_of(kind: str, digest: str, name: str | None = None) -> str:
    """Where the bucket has a blob, or a file of an artefact."""
    return f"{kind}/{digest[:2]}/{digest}" + (f"/{name}" if name else "")


class SharedBlobs(BlobStore):
    def __init__(self, root: Path, bucket: Bucket, disk: Disk | None = None) -> None:
        super().__init__(root, disk)
        self._bucket = bucket

    def put(self, data: bytes) -> str:
        """As on disk; and in the bucket, young. Raises Unavailable too."""
        digest = super().put(data)
        _keep(self._bucket, key_of(BLOBS, digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        """From this disk, or fetched. What has rotted here is fetched again. Raises Unavailable too."""
        try:
            return super().get(digest)
        except NotFound:
            pass
        except CorruptArtefact:
            log.error("the cached blob %s has rotted; it is fetched again", digest)
            self.path(digest).unlink(missing_ok=True)
        super().put(self._bucket.get(key_of(BLOBS, digest)))
        return super().get(digest)

    def local(self, digest: str) -> Path:
        """A file of this machine that holds it, fetched if need be."""
        if not self.path(digest).is_file():
            self.get(digest)
        return self.path(digest)


class SharedArtefacts(Artefacts):
    def __init__(self, root: Path, bucket: Bucket, disk: Disk | None = None) -> None:
        super().__init__(root, disk)
        self._bucket = bucket

    def admit(self, output: Path) -> Manifest:
        """As on disk; and in the bucket. Raises Unavailable too."""
        manifest = super().admit(output)
        for name in (*manifest.files, MANIFEST):
            data = (self.folder(manifest.digest) / name).read_bytes()
            _keep(self._bucket, key_of(ARTEFACTS, manifest.digest, name), data)
        return manifest

    def load(self, digest: str) -> tuple[Manifest, dict[str, bytes]]:
        """From this disk, or fetched. What has rotted here is fetched again. Raises Unavailable too."""
        self.local(digest)
        try:
            return super().load(digest)
        except CorruptArtefact:
            log.error("the cached artefact %s has rotted; it is fetched again", digest)
            shutil.rmtree(self.folder(digest), ignore_errors=True)
        self.local(digest)
        return super().load(digest)

    def manifest(self, digest: str) -> Manifest:
        self.local(digest)
        return super().manifest(digest)

    def local(self, digest: str) -> Path:
        """A folder of this machine that holds it, fetched if need be."""
        if not self.folder(digest).is_dir():
            self._fetch(digest)
        return self.folder(digest)

    def _fetch(self, digest: str) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        try:
            self._fetch_file(digest, MANIFEST, folder)
            for name in read_manifest((folder / MANIFEST).read_bytes()).files:
                self._fetch_file(digest, name, folder)
            publish_folder(folder, self.folder(digest))
        except NotFound:
            raise CorruptArtefact("The object store lacks a file of an artefact.") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fetch_file(self, digest: str, name: str, folder: Path) -> None:
        (folder / name).write_bytes(self._bucket.get(key_of(ARTEFACTS, digest, name)))


def _keep(bucket: Bucket, key: str, data: bytes) -> None:
    """See that the bucket has it, and has it young."""
    age = bucket.age(key)
    if age is None:
        bucket.create(key, data)
    elif age > RENEW_SECONDS:
        bucket.renew(key, data)


def sweep_bucket(bucket: Bucket, named: set[str], grace: float) -> int:
    """Delete what is older than `grace` seconds and not among the digests `named`; how many objects went."""
    stale = [
        stored.key
        for kind in (BLOBS, ARTEFACTS)
        for stored in bucket.list(f"{kind}/")
        if stored.age > grace and stored.key.split("/")[2] not in named
    ]
    gone = [key for key in stale if (bucket.age(key) or 0.0) > grace]  # nobody has named it meanwhile
    for key in gone:
        bucket.delete(key)
    return len(gone)
