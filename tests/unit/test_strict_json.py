"""Strict JSON: what is refused, what it costs, and that nothing right is refused."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.strict import MAX_CONTAINERS, MAX_DEPTH, strict_json
from models.errors import DurianError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab:\\"{[', max_size=3), inner),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_what_is_right_is_read(value: object) -> None:
    body = json.dumps(value).encode()
    assert strict_json(body) == strict_json(body + b" " * 10_000) == json.loads(body)


@pytest.mark.parametrize("room", [0, 10_000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"NaN", "invalid_json"),
        (b'{"a": Infinity}', "invalid_json"),
        (b"1e999", "invalid_json"),
        (b'"\\ud800"', "invalid_json"),
        (b'"\xff"', "invalid_json"),
        (b'"\x00"', "invalid_json"),
        (b"\xef\xbb\xbf1", "invalid_json"),
        (b'{"a": 1} {}', "invalid_json"),
        (b'"\\u0000"', "bad_text"),
        (b'{"a": ["x", {"b\\u0000": 1}]}', "bad_text"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
        (b'{"b": [1, {"a": 1, "a": ":"}]}', "duplicate_key"),
        (b'{"b:": {"a": [1, {"a": 1, "b": 1, "a": 1}]}}', "duplicate_key"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "json_depth"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "json_depth"),
        (b"[" * 2_000_000, "json_depth"),
        (b"[" + b"[]," * MAX_CONTAINERS + b"1]", "json_size"),
    ],
)
def test_what_is_wrong_is_refused(body: bytes, code: str, room: int) -> None:
    with pytest.raises(DurianError) as refused:
        strict_json(body + b" " * room)
    assert refused.value.code == code


def test_brackets_in_strings_are_not_depth_and_a_backslash_is_not_a_nul() -> None:
    assert strict_json(json.dumps("[" * 99).encode()) == "[" * 99
    assert strict_json(b'"\\\\u0000"') == "\\u0000"
    assert strict_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * (MAX_CONTAINERS - 2) + b"1]",
        b'{"a": "' + b":" * 2_000_000 + b'"}',
        b'["' + b"\\u0000" * 300_000 + b'"]',
        b'["' + b'\\"' * 1_000_000 + b'"]',
        b'{"a:": [' + b"1," * 900_000 + b"1]}",
        b"[" + b'{"":0},' * (MAX_CONTAINERS - 2) + b"1]",
        b"1" * 2_000_000,
    ],
    ids=["lists", "colons", "NULs", "quotes", "numbers", "objects", "digits"],
)
def test_two_megabytes_hold_nothing_up(body: bytes) -> None:
    seconds = []
    for _ in range(3):
        started = time.process_time()
        with suppress(DurianError):
            strict_json(body)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.25
