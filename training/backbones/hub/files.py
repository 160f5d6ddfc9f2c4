"""A model's folder as the hub publishes it: what may be read, and what is refused before anything is."""

from __future__ import annotations

import errno
import re
from hashlib import file_digest
from pathlib import Path
from typing import Any

import orjson

from models.errors import InvalidInput, TooLarge

LARGEST = 1_900_000_000  # bytes of weights: an ONNX file of one piece ends at 2 GiB
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
WANTED = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md")
CONFIG = "config.json"


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def is_of_disk(error: Exception) -> bool:
    """Whether a download failed where it is written, not where it is from."""
    return isinstance(error, OSError) and error.errno in DISK


def sha256_of(file: Path) -> str:
    """Digest of a file's content, read in pieces."""
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def refused(message: str, code: str) -> InvalidInput:
    return InvalidInput(message, code=code, param="weights")


def check_folder(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises InvalidInput: `config` (none there), `remote_code` (the model needs Python code of its own),
    `pickle` (weights only as pickles or in other formats), `weights` (none); TooLarge above 1.9 GB.
    """
    if not folder.is_dir() or not (folder / CONFIG).is_file():
        raise refused("This is no folder of a published model: it has no config.json.", "config")
    config = read_json(folder / CONFIG)
    for name in (CONFIG, "tokenizer_config.json", "preprocessor_config.json"):
        if "auto_map" in read_json(folder / name):
            message = f"{name} names code of the model's own (auto_map), which Durian never runs."
            raise refused(message, "remote_code")
    _check_weights(folder)
    return config


def _check_weights(folder: Path) -> None:
    weights = list(folder.glob("*.safetensors"))
    if not weights and any(path for kind in PICKLES for path in folder.glob(kind)):
        message = "The weights are pickles or of another format that Durian never reads: give safetensors."
        raise refused(message, "pickle")
    if not weights:
        raise refused("The folder has no weights: it needs model.safetensors.", "weights")
    if sum(path.stat().st_size for path in weights) > LARGEST:
        raise TooLarge("The weights are larger than 1.9 GB: choose a smaller model.", param="weights")


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; an empty one where there is no such file. Raises InvalidInput `config`."""
    found = read_any(path)
    if not isinstance(found, dict):
        raise refused(f"{path.name} is no JSON object.", "config")
    return found


def read_any(path: Path) -> Any:
    """Like `read_json`, of any JSON value."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise refused(f"{path.name} is no readable JSON.", "config") from None


def licence_of(folder: Path) -> str:
    """The licence that the head of the model's README.md names, else `unknown`."""
    try:
        text = (folder / "README.md").read_text(errors="replace")
    except OSError:
        return "unknown"
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    line = head and re.search(r"^license:\s*([\w.+-]+)\s*$", head[1], re.MULTILINE)
    return line[1] if line else "unknown"
