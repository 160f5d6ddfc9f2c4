"""JSON as it is read here: valid, shallow, without a key twice, and of text that every database can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from models.errors import InvalidInput, InvalidRequest

MAX_DEPTH = 32
"""Objects and lists in each other. The deepest the API asks for is a fraction of that."""

MAX_CONTAINERS = 50_000
"""Objects and lists in all: each costs the event loop a microsecond or more."""

_LONG = 4096
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(_BRACKETS)))
_STEPS = bytes.maketrans(_BRACKETS, bytes([1, 255, 1, 255]))


def strict_json(body: bytes) -> Any:
    """The value of a JSON text. Raises InvalidRequest (`invalid_json`, `json_depth`, `json_size`,
    `duplicate_key`), and InvalidInput (`bad_text`) for a NUL in a string.

    NaN, infinite numbers, lone surrogates and what is not UTF-8 are no valid JSON.
    """
    if _count(body, b"[") + _count(body, b"{") > MAX_DEPTH:
        _check_brackets(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body is not valid JSON.", code="invalid_json", param="body") from None
    # Every key has a colon. As many colons as keys that are left: no key was there twice.
    if b"{" in body and _count(body, b":") != _keys(value):
        _check_keys(body)
    if b"\\" in body and b"\\u0000" in body and _has_nul(value):
        raise InvalidInput("A text holds a NUL character.", code="bad_text", param="body")
    return value


def _count(body: bytes, character: bytes) -> int:
    """As `bytes.count`, which looks at one byte at a time: a picture has tens of thousands."""
    if len(body) < _LONG:
        return body.count(character)
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def _check_brackets(body: bytes) -> None:
    """How deep brackets stand in each other, and how many there are, those in strings apart."""
    steps = np.frombuffer(_STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS), np.int8)
    if np.cumsum(steps, dtype=np.int64).max(initial=0) > MAX_DEPTH:
        raise InvalidRequest(f"The JSON is nested over {MAX_DEPTH} deep.", code="json_depth", param="body")
    if len(steps) > 2 * MAX_CONTAINERS:
        raise InvalidRequest(
            f"The JSON holds more than {MAX_CONTAINERS} objects and lists; send less at a time.",
            code="json_size",
            param="body",
        )


def _keys(value: object) -> int:
    """How many keys a value holds, or fewer: a list counts as what its first element is."""
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return sum(map(_keys, value))
    return 0


def _check_keys(body: bytes) -> None:
    """Raises InvalidRequest where an object names a key twice."""
    json.loads(body, object_pairs_hook=_distinct, parse_float=_nothing, parse_int=_nothing)


def _distinct(pairs: Iterable[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidRequest("An object names a key twice.", code="duplicate_key", param="body")


def _nothing(_: str) -> None:
    """Numbers do not matter here; a long one would take long to read."""


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
