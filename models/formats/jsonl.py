"""JSON lines: one `{"input": ..., "label": ...}` a line."""

from __future__ import annotations

import json
from typing import Any

import orjson

from models.formats.rows import Format, Parsed, Row, Wanted, check_count, decode_utf8, ignored
from models.modalities.faults import fault

_FIELDS = {"input", "label"}


def read(data: bytes, wanted: Wanted) -> Parsed:
    """Rows by line; blank lines are skipped, other fields than `input` and `label` ignored with a warning."""
    lines = decode_utf8(data).split("\n")
    check_count(len(lines) - lines.count(""))
    rows, others = [], set()
    for number, line in enumerate(lines, 1):
        if line.strip():
            item = _parse(f"line {number}", line)
            rows.append(json_row(f"line {number}", item))
            others |= item.keys() - _FIELDS
    return Parsed(rows, warnings=ignored(len(others), "field"))


def json_row(where: str, item: object) -> Row:
    """One parsed example object. Raises InvalidInput `bad_row` or `missing_field`."""
    if not isinstance(item, dict):
        raise fault(where, 'expected an object {"input": ..., "label": ...}.', "bad_row")
    if item.get("input") is None:
        raise fault(where, 'the field "input" is missing or null.', "missing_field")
    return Row(where, item["input"], item.get("label"))


def _parse(where: str, line: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return _lenient(where, line)


def _lenient(where: str, line: str) -> Any:
    """The standard parser also reads NaN, huge numbers and lone surrogates, whose own errors say more."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise fault(
            where, "this is not one complete JSON object. Write one object a line.", "bad_json"
        ) from None


def _looks_like(data: bytes) -> bool:
    return data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


FORMAT = Format("JSON lines", (".jsonl", ".ndjson"), _looks_like, read, binary=False)
