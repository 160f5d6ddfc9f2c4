"""Fetch a model's files with the hub's own client, without the formats that Durian never reads."""

from __future__ import annotations

from pathlib import Path

from models.errors import NotFound, Unavailable
from training.backbones.hub.files import WANTED

OTHERWISE = "Download it elsewhere and give its folder with --weights FOLDER."


def download(name: str) -> Path:
    """The folder of `<organisation>/<model>` in the client's cache.

    Raises NotFound for a model that is not there (or private), Unavailable without the client or network.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        message = f"The package huggingface_hub is not installed. {OTHERWISE}"
        raise Unavailable(message, code="no_hub_client", param="weights") from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except RepositoryNotFoundError:
        message = "The hub has no such model, or it is private or gated: check the id."
        raise NotFound(message, code="backbone_not_found", param="id") from None
    except Exception:  # the client's errors of connection, time and proxy share no base
        message = f"The hub cannot be reached from this machine. {OTHERWISE}"
        raise Unavailable(message, code="no_network", param="weights") from None
