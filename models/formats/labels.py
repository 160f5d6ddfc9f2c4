"""Labels: which task they mean, and that every one of them is sound."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence

from models.base import Label, TaskName
from models.errors import DurianError
from models.formats.rows import Row
from models.modalities.faults import fault

MAX_LENGTH = 256
CLASS_LIKE = 20
"""Up to so many distinct whole numbers look like classes; the field's data sets seldom have more digits."""

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*|\s*[+-]?(nan|inf(inity)?)\s*", re.I | re.A)
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_MEANING = {
    "classification": "a class name",
    "regression": "a number",
    "multilabel": "a list of class names",
}


def resolve(rows: Sequence[Row], task: TaskName | None) -> tuple[TaskName, list[Label], tuple[str, ...]]:
    """The task, every row's label, and warnings.

    Without a stated task: class names mean classification, numbers regression, lists multilabel, and no
    label at all classification. Raises InvalidInput `bad_label`, naming the row.
    """
    meant = task or _infer(rows)
    read = _READERS[meant]
    labels = [None if row.label is None else read(row.where, row.label) for row in rows]
    return meant, labels, () if task else _doubts(meant, rows)


def _infer(rows: Sequence[Row]) -> TaskName:
    first: tuple[str, TaskName] | None = None
    for row in rows:
        if row.label is None:
            continue
        kind = _kind(row.where, row.label)
        first = first or (row.where, kind)
        if kind != first[1]:
            raise fault(
                row.where,
                f"the label is {_MEANING[kind]}, but that of {first[0]} is {_MEANING[first[1]]}. Write all "
                "labels the same way, or state the task.",
                "bad_label",
            )
    return first[1] if first else "classification"


def _kind(where: str, label: object) -> TaskName:
    if isinstance(label, str):
        return "classification"
    if isinstance(label, (int, float)) and not isinstance(label, bool):
        return "regression"
    if isinstance(label, (list, tuple)):
        return "multilabel"
    raise _bad(where, "the label must be a class name, a number or a list of class names")


def _doubts(task: TaskName, rows: Sequence[Row]) -> tuple[str, ...]:
    if task != "regression" or not all(isinstance(row.label, (int, type(None))) for row in rows):
        return ()
    if len({row.label for row in rows}) > CLASS_LIKE:
        return ()
    return ("labels are whole numbers, read as regression; state task=classification if they are classes",)


def _bad(where: str, problem: str) -> DurianError:
    return fault(where, f"{problem}.", "bad_label")


def _class_name(where: str, label: object) -> str:
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if isinstance(label, (list, tuple)):
        raise _bad(
            where, "the label is a list, but this task takes one class name; for lists, state multilabel"
        )
    if not isinstance(label, str):
        raise _bad(where, "a class name must be a string or a whole number")
    return _name(where, label)


def _name(where: str, label: object) -> str:
    if not isinstance(label, str):
        raise _bad(where, "a list label holds class names, each a string")
    if not label.strip():
        raise _bad(where, "the label is empty; leave it out, or null, for an unlabelled example")
    if len(label) > MAX_LENGTH:
        raise _bad(where, f"the label is longer than {MAX_LENGTH} characters; shorten it")
    if any(unicodedata.category(c) in _UNPRINTABLE for c in label):
        raise _bad(where, "the label holds control characters or line breaks; remove them")
    return label


def _number(where: str, label: object) -> float:
    if isinstance(label, bool) or not isinstance(label, (int, float)):
        raise _bad(where, "a regression label must be a number")
    try:
        value = float(label)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _bad(where, "the label is NaN or infinite; give a finite number, or null for unlabelled")
    return value


def _names(where: str, label: object) -> list[str]:
    if not isinstance(label, (list, tuple)):
        raise _bad(where, "a multilabel example takes a list of class names, even for one")
    return sorted({_name(where, name) for name in label})


_READERS: dict[TaskName, Callable[[str, object], Label]] = {
    "classification": _class_name,
    "regression": _number,
    "multilabel": _names,
}


def from_cells(cells: Sequence[tuple[str, str]], task: TaskName | None) -> list[object]:
    """Labels written as text, `(where, cell)` each; an empty cell is unlabelled.

    Without a task, numbers are regression when one has a decimal point or there are more than 20
    different ones. Several classes of a multilabel cell are separated by `|`.
    """
    meant = task or _infer_cells([cell for _, cell in cells if cell])
    return [_from_cell(where, cell, meant) if cell else None for where, cell in cells]


def _infer_cells(cells: Sequence[str]) -> TaskName:
    if not cells or not all(map(_NUMBER.fullmatch, cells)):
        return "classification"
    written = [cell.lower() for cell in cells]
    continuous = any("." in cell or "n" in cell for cell in written)  # nan, inf: refused as numbers
    continuous = continuous or len(set(cells)) > CLASS_LIKE
    return "regression" if continuous else "classification"


def _from_cell(where: str, cell: str, task: TaskName) -> object:
    if task == "multilabel":
        return [name.strip() for name in cell.split("|")]
    if task == "classification":
        return cell
    if not _NUMBER.fullmatch(cell):
        raise _bad(where, "a regression label must be a number")
    return float(cell)
