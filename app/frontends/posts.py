"""What the supervisor tells a process that it starts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import orjson

DRAIN_SECONDS = 15
"""A front-end that is told to stop gives its last requests so long."""

Role = Literal["engine", "front-end"]


@dataclass(frozen=True)
class Post:
    """One process: the engine (slot 0 of the board) or a front-end.

    `board` and `listener` are descriptors that it inherits; `line` is the address between the engine and the
    front-ends, `addresses` those of HTTP: address families and addresses.
    """

    slot: int
    slots: int
    parent: int
    board: int
    line: str
    listener: int
    addresses: tuple[tuple[int, tuple[str | int, ...]], ...]
    worker: bool

    @property
    def role(self) -> Role:
        return "front-end" if self.slot else "engine"

    def command(self) -> list[str]:
        """How to start it."""
        return [sys.executable, "-m", "app.frontends", orjson.dumps(self).decode()]

    @classmethod
    def parse(cls, told: str) -> Post:
        """The last argument of that."""
        return cls(**orjson.loads(told))
