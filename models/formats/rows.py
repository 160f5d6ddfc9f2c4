"""What all file formats share: rows as a reader yields them, before anything in them is validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from models.base import ModalityName, TaskName
from models.errors import TooLarge
from models.modalities.faults import fault

MAX_ROWS = 1_000_000
MAX_BYTES = 2_000_000_000
"""Most bytes a file may hold once decompressed."""


class Row(NamedTuple):
    """One example as found: where (for messages), its raw input, its raw label (None: unlabelled)."""

    where: str
    input: object
    label: object = None


@dataclass(frozen=True)
class Wanted:
    """What the caller said about the file; None where it is to be inferred."""

    modality: ModalityName | None = None
    task: TaskName | None = None


@dataclass(frozen=True)
class Parsed:
    """The rows of a file, and what its layout (not its rows) says about the modality."""

    rows: Sequence[Row]
    modality: ModalityName | None = None
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Format:
    """One kind of upload: its file name endings, a test of the content, a reader."""

    name: str
    extensions: tuple[str, ...]
    looks_like: Callable[[bytes], bool]
    read: Callable[[bytes, Wanted], Parsed]
    binary: bool = True


def check_count(rows: int) -> None:
    """Raises TooLarge `too_many_rows` above the limit."""
    if rows > MAX_ROWS:
        raise TooLarge(f"The file has over {MAX_ROWS:,} rows. Split it.", code="too_many_rows", param="file")


def ignored(count: int, kind: str) -> tuple[str, ...]:
    """The warning that `count` columns, fields or arrays were not read."""
    return (f"other {kind}s ignored: {count}",) if count else ()


def decode_utf8(data: bytes, place: str = "") -> str:
    """Text of a file, without a byte order mark. Raises InvalidInput `not_utf8` or `nul`, with the line.

    `place` leads the line in messages (`"labels.csv "`).
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise fault(f"{place}line {line}", "the file is not UTF-8. Save it as UTF-8.", "not_utf8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise fault(f"{place}line {line}", "there is a NUL character. Save the file as plain UTF-8.", "nul")
    return text
