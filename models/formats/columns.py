"""Tables (CSV, Parquet): which columns are the input, and what numeric column names mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.base import ModalityName
from models.errors import InvalidInput

LABEL = "label"
MODALITY_OF: dict[str, ModalityName | None] = {
    "input": None,
    "text": "text",
    "image": "image",
    "audio": "audio",
}
_EXPECTED = (
    "Expected a column text or input (with a column label), or for signals a column label and numeric "
    "columns, separated by commas and named in the first row."
)


def wrong_columns(problem: str) -> InvalidInput:
    """`wrong_columns`, saying what is expected."""
    return InvalidInput(f"{problem} {_EXPECTED}", code="wrong_columns", param="file")


def check_names(names: Sequence[str]) -> None:
    """Raises InvalidInput `wrong_columns` for repeated names."""
    if len(set(names)) < len(names):
        raise wrong_columns("Two columns have the same name.")


def input_column(names: Sequence[str], modality: ModalityName | None) -> str | None:
    """The one column that holds whole inputs; None when the numeric columns are the input.

    Raises InvalidInput when several could be meant and the stated modality does not decide.
    """
    found = [name for name in MODALITY_OF if name in names]
    if modality in found:
        return modality
    if not found and modality not in (None, "signal"):
        raise wrong_columns(f"There is no column {modality} or input.")
    if len(found) > 1:
        raise wrong_columns(
            f"The columns {' and '.join(found)} are both inputs; keep one or state the modality."
        )
    return found[0] if found else None


def column_grid(names: Sequence[str]) -> NDArray[np.float64] | None:
    """Coordinates (wavelengths, energies, ...) from the names of a signal's columns.

    All numbers, strictly rising or falling: the grid. None of them a number: no grid. Anything between
    would silently mix identifiers or targets into the signal and raises InvalidInput `wrong_columns`.
    """
    if not names or "" in names:
        raise wrong_columns("There is no input column, or a column has no name.")
    numbers = [number for name in names if (number := _number(name)) is not None]
    if not numbers:
        return None
    if len(numbers) < len(names):
        odd = next(i for i, name in enumerate(names, 1) if _number(name) is None)
        raise wrong_columns(
            f"Some column names are numbers (a grid) and others are not (the first is number {odd} beside "
            "label). Drop the others."
        )
    grid = np.array(numbers)
    steps = np.diff(grid)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise wrong_columns("The column names are numbers but neither rise nor fall strictly.")
    return grid


def _number(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def not_numeric(column: int) -> InvalidInput:
    """For a first row whose numbered column is no number: no column is an input."""
    return wrong_columns(f"No column is named text or input, and column {column} is not numeric.")


def signals(values: NDArray[np.float64], grid: NDArray[np.float64] | None) -> list[object]:
    """One raw signal a row of `values` [rows, points]."""
    if grid is None:
        return list(values)
    return [{"grid": grid, "values": row} for row in values]
