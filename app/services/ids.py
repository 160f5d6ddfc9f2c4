"""Identifiers, names and clocks that the use cases share."""

from __future__ import annotations

import random
import re
import secrets
import time
import unicodedata

from models.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")


def new_id(prefix: str) -> str:
    """An unguessable identifier such as `file-8f0c...`."""
    return f"{prefix}-{secrets.token_hex(12)}"


_requests = random.Random(secrets.randbits(128))  # noqa: S311 (guards nothing)


def request_id(prefix: str = "") -> str:
    """An identifier that opens nothing, such as those of requests: without a system call for each."""
    return f"{prefix}{_requests.getrandbits(64):016x}"


def now() -> float:
    """Seconds since 1970."""
    return time.time()


def check_name(name: str, param: str) -> str:
    """A model, alias or dataset name: 1 to 64 of a-z, 0-9, dot, dash, underscore. Raises InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "A name has 1 to 64 of the characters a-z, 0-9, '.', '_' and '-', "
            "and begins and ends with a letter or digit.",
            code="bad_name",
            param=param,
        )
    return name


def display_name(filename: str | None) -> str:
    """An uploaded file's name as a harmless display string: its last part, NFC, without controls."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", filename or ""))[-1]
    clean = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    return clean[:200] or "upload"
