"""What every frozen record of the contract shares: strict fields, canonical bytes, a digest."""

from __future__ import annotations

import hashlib
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict

ModalityName = Literal["text", "image", "audio", "signal"]
TaskName = Literal["classification", "regression", "multilabel"]
Label = str | float | list[str] | None
"""A class name, a number (regression), a list of class names (multilabel), or None (unlabelled)."""


class Record(BaseModel):
    """An immutable value with one canonical byte form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def canonical(self) -> bytes:
        """Sorted-key JSON: equal records give equal bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def sha256(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
