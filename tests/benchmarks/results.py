"""What was measured, and the file that keeps it: running one benchmark replaces only its own section."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import orjson

from models.base import Record
from tests.benchmarks.machine import Machine


class Row(Record):
    """One figure. Whether it is as asked follows from `value`; it is never stated by hand."""

    what: str
    value: float
    unit: str = ""
    digits: int = 1
    at_least: float | None = None
    at_most: float | None = None
    how: str = ""

    @property
    def measured(self) -> str:
        return self._text(self.value)

    @property
    def asked(self) -> str:
        """The limit in words; empty where none is asked."""
        if self.at_least is not None:
            return f"≥ {self._text(self.at_least)}"
        return "" if self.at_most is None else f"≤ {self._text(self.at_most)}"

    @property
    def met(self) -> bool | None:
        """Whether it is as asked; None where nothing is asked."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def _text(self, value: float) -> str:
        return f"{value:,.{self.digits}f} {self.unit}".strip()


class Section(Record):
    """One run of one benchmark. A failed one keeps the rows it had."""

    name: str
    title: str
    about: str
    command: str
    status: Literal["measured", "skipped", "failed"]
    reason: str = ""
    rows: tuple[Row, ...] = ()
    started: str
    seconds: float
    quick: bool = False
    load: tuple[float, float]
    """Load average of the last minute, before and after."""
    machine: Machine


def read(path: Path) -> dict[str, Section]:
    """The sections in the file, by name; none where there is no file."""
    if not path.exists():
        return {}
    found = orjson.loads(path.read_bytes())
    return {name: Section.model_validate(section) for name, section in found.items()}


def write(path: Path, sections: dict[str, Section]) -> None:
    """Sections by name, as JSON that a diff can be read of."""
    body = {name: section.model_dump(mode="json") for name, section in sorted(sections.items())}
    path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
