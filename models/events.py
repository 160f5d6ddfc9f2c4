"""What a running job says: small, ordered, meant for people and progress bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from models.base import Record


class Event(Record):
    """One line of a job's log; `metrics` events carry numbers in `data` (progress is 0 to 1)."""

    level: Literal["info", "warn", "error"] = "info"
    type: Literal["message", "metrics"] = "message"
    message: str
    data: dict[str, float | int | str | bool | None] = Field(default_factory=dict)


Emit = Callable[[Event], None]
