"""Uploaded files -> packs: one small module a format, one set of checks for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import cast, get_args

from models.base import ModalityName, TaskName
from models.dataset import Pack
from models.errors import Conflict, InvalidInput, InvalidRequest, UnsupportedMedia
from models.formats import csv, jsonl, npz, parquet, zip
from models.formats.assemble import assemble, infer
from models.formats.jsonl import json_row
from models.formats.rows import Format, Parsed, Row, Wanted
from models.manifest import SignalGrid
from models.modalities import modality as known_modality

__all__ = ["FORMATS", "Row", "json_row", "kind_of", "pack_rows", "read_pack", "register"]

FORMATS: dict[str, Format] = {}
"""By file name ending. Content is tried in this order: an npz file is also a zip archive."""


def register(entry: Format) -> None:
    """Add a format. Raises ValueError when one of its endings is taken."""
    for extension in entry.extensions:
        if extension in FORMATS:
            raise ValueError(f"{extension} is registered twice")
        FORMATS[extension] = entry


for module in (jsonl, csv, parquet, npz, zip):
    register(module.FORMAT)


def read_pack(
    filename: str, data: bytes, *, modality: str | None, task: str | None, grid: SignalGrid | None = None
) -> Pack:
    """Parse and validate one upload. `modality` and `task` are inferred where they are None.

    `grid` puts signals on the grid of an existing dataset. Duplicates are folded, with warnings. Raises
    InvalidRequest, InvalidInput (the row or field is named), UnsupportedMedia, TooLarge.
    """
    wanted = _wanted(modality, task)
    if not data.strip():
        raise InvalidInput("The file is empty. Give at least one example.", code="empty_file", param="file")
    try:
        return assemble(_format(filename, data).read(data, wanted), wanted, grid)
    except Conflict as error:  # of a file with itself, not with anything stored
        raise InvalidInput(error.message, code=error.code, param=error.param) from None


def pack_rows(
    rows: Iterable[tuple[str, object, object]],
    *,
    modality: str | None,
    task: str | None,
    grid: SignalGrid | None = None,
) -> Pack:
    """A pack of `(where, input, label)` rows that were parsed already.

    Raises as `read_pack`, and Conflict.
    """
    return assemble(Parsed([Row(*row) for row in rows]), _wanted(modality, task), grid)


def kind_of(rows: Sequence[tuple[str, object, object]], modality: str | None) -> str | None:
    """The modality that `pack_rows` will take these rows for; None where there are none."""
    if modality is not None:
        return known_modality(modality).name
    return infer(Row(*rows[0])) if rows else None


def _wanted(modality: str | None, task: str | None) -> Wanted:
    kind: ModalityName | None = None if modality is None else known_modality(modality).name
    if task is not None and task not in get_args(TaskName):
        known = ", ".join(get_args(TaskName))
        raise InvalidRequest(f"The task must be one of {known}.", code="unknown_task", param="task")
    return Wanted(kind, cast("TaskName | None", task))


def _format(filename: str, data: bytes) -> Format:
    """By the name's ending, which must agree with the content; by the content where there is none."""
    named = FORMATS.get(PurePath(filename).suffix.lower())
    found = next((entry for entry in FORMATS.values() if entry.looks_like(data)), None)
    if named is None and found is None:
        endings = ", ".join(FORMATS)
        raise UnsupportedMedia(f"Durian reads files ending in {endings}. Convert this one.", param="file")
    if named and found is not named and (named.binary or found):
        actual = f"is {found.name}" if found else "is not"
        raise InvalidInput(
            f"The file's name says {named.name} but its content {actual}. Rename it or write it again.",
            code="wrong_format",
            param="file",
        )
    return named or cast(Format, found)
