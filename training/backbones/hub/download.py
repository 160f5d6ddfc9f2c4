"""Fetch a model's files with the hub's own client, without the formats that Durian never reads."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import CorruptArtefact, NotFound, Unavailable
from training.backbones.hub.files import WANTED, is_of_disk, sha256_of

DIGEST = re.compile(r"[0-9a-f]{64}")
OTHERWISE = "Download it elsewhere and give its folder with --weights FOLDER."


def download(name: str) -> Path:
    """The folder of `<organisation>/<model>` in the client's cache.

    Raises NotFound for a model that is not there (or private), Unavailable without the client or network,
    CorruptArtefact (`checksum`) where weights differ from the SHA-256 that the hub tells, OSError for a
    full disk.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        message = f"The package huggingface_hub is not installed. {OTHERWISE}"
        raise Unavailable(message, code="no_hub_client", param="weights") from None
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except RepositoryNotFoundError:
        message = "The hub has no such model, or it is private or gated: check the id."
        raise NotFound(message, code="backbone_not_found", param="id") from None
    except Exception as error:  # the client's errors of connection, time and proxy share no base
        if is_of_disk(error):
            raise
        message = f"The hub cannot be reached from this machine. {OTHERWISE}"
        raise Unavailable(message, code="no_network", param="weights") from None
    for file in folder.glob("*.safetensors"):
        _check(file)
    return folder


def _check(file: Path) -> None:
    """The client names large files by the SHA-256 that the hub tells, and links to them."""
    told = file.resolve().name
    if DIGEST.fullmatch(told) and sha256_of(file) != told:
        message = (
            f"{file.name} differs from the checksum that the hub tells: "
            "delete it from the client's cache (HF_HOME) and add the model again."
        )
        raise CorruptArtefact(message, code="checksum", param="weights")
