"""Parquet: the columns of a CSV, or encoded media as bytes or as `{bytes, path}` structs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.errors import DurianError, InvalidInput, TooLarge
from models.formats.columns import (
    LABEL,
    MODALITY_OF,
    check_names,
    column_grid,
    input_column,
    not_numeric,
    signals,
)
from models.formats.rows import MAX_BYTES, Format, Parsed, Row, Wanted, check_count, ignored
from models.modalities.faults import fault, out_of_memory

_BATCH = 1024
_INDEX = "__index_level_"  # how pandas stores its index


def read(data: bytes, wanted: Wanted) -> Parsed:
    """Rows in file order. Raises InvalidInput `undecodable`, `wrong_columns`, `missing_field`; TooLarge."""
    try:
        return _read(data, wanted)
    except DurianError:
        raise
    except MemoryError:
        raise out_of_memory("file") from None
    except Exception:  # pyarrow raises its own tree, OSError, ValueError and UnicodeDecodeError
        raise InvalidInput(
            "The Parquet file is corrupt or truncated. Write it again.", code="undecodable", param="file"
        ) from None


def _read(data: bytes, wanted: Wanted) -> Parsed:
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(io.BytesIO(data))
    check_count(file.metadata.num_rows)
    names = [name for name in file.schema_arrow.names if not name.startswith(_INDEX)]
    check_names(names)
    column = input_column(names, wanted.modality)
    used = [column] if column else [name for name in names if name != LABEL]
    if column is None:
        _check_numeric(file.schema_arrow, used)
    columns = _columns(file, [*used, LABEL] if LABEL in names else used)
    labels = columns.pop(LABEL, [None] * file.metadata.num_rows)
    if column is None:
        return _numeric(used, columns, labels)
    rows = [
        Row(f"row {i}", _value(i, x), y)
        for i, (x, y) in enumerate(zip(columns[column], labels, strict=True), 1)
    ]
    return Parsed(rows, MODALITY_OF[column], ignored(len(set(names) - {column, LABEL}), "column"))


def _columns(file: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """The named columns as Python values, read in small batches under the limit of decompressed bytes."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    size = 0
    for batch in file.iter_batches(_BATCH, columns=list(names), use_threads=False):
        size += batch.nbytes
        if size > MAX_BYTES:
            raise TooLarge("The file holds over 2 GB of data. Split it.", param="file")
        for name in names:
            columns[name] += batch.column(name).to_pylist()
    return columns


def _value(row: int, value: object) -> object:
    """One raw input; the struct of an encoded file (as the `datasets` library writes it) is its bytes."""
    if isinstance(value, dict) and "bytes" in value:
        value = value["bytes"]
    if value is None:
        raise fault(f"row {row}", "the input is null. Fill it in or drop the row.", "missing_field")
    return value


def _check_numeric(schema: Any, names: Sequence[str]) -> None:
    from pyarrow import types

    for position, name in enumerate(names, 1):
        kind = schema.field(name).type
        if not (types.is_floating(kind) or types.is_integer(kind)):
            raise not_numeric(position)


def _numeric(names: Sequence[str], columns: dict[str, list[Any]], labels: Sequence[object]) -> Parsed:
    grid = column_grid(names)
    values = np.array([columns[name] for name in names], np.float64).T  # null becomes NaN, refused later
    rows = [
        Row(f"row {i}", x, y) for i, (x, y) in enumerate(zip(signals(values, grid), labels, strict=True), 1)
    ]
    return Parsed(rows, "signal")


FORMAT = Format("Parquet", (".parquet",), lambda data: data[:4] == b"PAR1", read)
