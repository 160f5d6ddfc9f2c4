"""How inputs travel: text and numbers as JSON; raw bytes and files as multipart, or as base64 among JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from app.client.call import Part
from models.base import Label

Raw = bytes | PathLike[str]
Signal = Sequence[float] | Mapping[str, Sequence[float]]
"""Numbers, or `{"grid": [...], "values": [...]}`."""

Input = str | Raw | Signal
"""A text; an image or sound as bytes or as the path of its file; a signal."""

Labelled = Mapping[str, Any] | tuple[Input, Label]
"""An example: `{"input": ..., "label": ...}` or `(input, label)`; the label None where unknown."""

OCTETS = "application/octet-stream"


def part(field: str, raw: Raw, filename: str | None = None) -> Part:
    """One file of a multipart body. Raises OSError when a path cannot be read."""
    if isinstance(raw, bytes):
        return field, (filename or field, raw, OCTETS)
    path = Path(raw)
    return field, (filename or path.name, path.read_bytes(), OCTETS)


def json_value(value: Any) -> Any:
    """One input as JSON: bytes and files as base64, arrays as lists."""
    if isinstance(value, bytes | PathLike):
        return b64encode(part("file", value)[1][1]).decode("ascii")
    if isinstance(value, Mapping):
        return {name: json_value(member) for name, member in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def batch(values: Input | Sequence[Input]) -> list[Any]:
    """The inputs as a list; a lone input, and a signal given as a flat list, is a batch of one."""
    plain: Any = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(plain, str | bytes | PathLike | Mapping):
        return [plain]
    items = list(plain)
    return [items] if items and all(isinstance(item, int | float) for item in items) else items


def all_raw(values: Sequence[Any]) -> bool:
    """Whether every input is bytes or a file, so that multipart spares the base64."""
    return bool(values) and all(isinstance(value, bytes | PathLike) for value in values)


def example(item: Labelled) -> dict[str, Any]:
    """An example as the mapping `{"input", "label"}`."""
    if isinstance(item, Mapping):
        return dict(item)
    value, label = item
    return {"input": value, "label": label}


def examples_body(items: Iterable[Labelled]) -> dict[str, Any]:
    """Keyword arguments of a `Call` that sends examples: files of one class each as multipart, else JSON."""
    rows = [example(item) for item in items]
    labels = [row.get("label") for row in rows]
    if all_raw([row.get("input") for row in rows]) and all(isinstance(label, str) for label in labels):
        return {"data": {"label": labels}, "files": [part("file", row["input"]) for row in rows]}
    return {"json": [{**row, "input": json_value(row.get("input"))} for row in rows]}
