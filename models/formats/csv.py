"""CSV in UTF-8: columns `text` or `input` and `label`; or `label` and one numeric column a point."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from models.formats.columns import (
    LABEL,
    MODALITY_OF,
    check_names,
    column_grid,
    input_column,
    not_numeric,
    signals,
)
from models.formats.labels import from_cells
from models.formats.rows import MAX_ROWS, Format, Parsed, Row, Wanted, check_count, decode_utf8, ignored
from models.modalities.faults import fault

Record = tuple[str, list[str]]


def read(data: bytes, wanted: Wanted) -> Parsed:
    """Rows by line. Raises InvalidInput `bad_csv`, `wrong_columns`, `missing_field`, `bad_signal`."""
    names, records = table(data)
    if not records:
        return Parsed([])
    labels = _labels(names, records, wanted)
    column = input_column(names, wanted.modality)
    if column is None:
        return _numeric(names, records, labels)
    at = names.index(column)
    rows = [
        Row(where, _filled(where, cells[at]), label)
        for (where, cells), label in zip(records, labels, strict=True)
    ]
    others = len(set(names) - {column, LABEL})
    return Parsed(rows, MODALITY_OF[column], ignored(others, "column"))


def table(data: bytes, place: str = "") -> tuple[list[str], list[Record]]:
    """Column names (trimmed), and `(where, cells)` of each record, all as long as the names."""
    records = list(islice(_records(decode_utf8(data, place), place), MAX_ROWS + 2))
    if not records:
        return [], []
    check_count(len(records) - 1)
    names = [name.strip() for name in records[0][1]]
    check_names(names)
    for where, cells in records[1:]:
        if len(cells) != len(names):
            raise fault(
                where,
                f"expected {len(names)} fields, got {len(cells)}. Quote fields that hold commas.",
                "bad_csv",
            )
    return names, records[1:]


def _records(text: str, place: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield f"{place}line {start}", cells
            start = reader.line_num + 1
    except csv.Error:
        raise fault(
            f"{place}line {start}",
            "the record is not CSV: an unclosed quote or a field over 128 KB.",
            "bad_csv",
        ) from None


def _labels(names: Sequence[str], records: Sequence[Record], wanted: Wanted) -> list[object]:
    if LABEL not in names:
        return [None] * len(records)
    at = names.index(LABEL)
    return from_cells([(where, cells[at]) for where, cells in records], wanted.task)


def _filled(where: str, cell: str) -> str:
    if not cell:
        raise fault(where, "the input is empty. Fill it in or drop the row.", "missing_field")
    return cell


def _numeric(names: Sequence[str], records: Sequence[Record], labels: Sequence[object]) -> Parsed:
    columns = [i for i, name in enumerate(names) if name != LABEL]
    grid = column_grid([names[i] for i in columns])
    values = np.empty((len(records), len(columns)))
    for row, (where, cells) in enumerate(records):
        values[row] = _floats(where, cells, columns, first=row == 0)
    rows = [
        Row(where, signal, label)
        for (where, _), signal, label in zip(records, signals(values, grid), labels, strict=True)
    ]
    return Parsed(rows, "signal")


def _floats(where: str, cells: Sequence[str], columns: Sequence[int], first: bool) -> list[float]:
    values = []
    for i in columns:
        try:
            values.append(float(cells[i]))
        except ValueError:
            if first:
                raise not_numeric(i + 1) from None
            raise fault(where, f"column {i + 1} is not a number. Repair or drop it.", "bad_signal") from None
    return values


FORMAT = Format("CSV", (".csv",), lambda data: False, read, binary=False)
