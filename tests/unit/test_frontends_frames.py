"""What goes over the line between front-ends and the engine comes out as it went in."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from app.errors import headers_of
from app.frames import (
    Frame,
    Frames,
    arrays_header,
    arrays_of,
    contents_of,
    encode,
    error_header,
    error_of,
    sizes,
)
from app.frontends.messages import away
from models import errors
from models.errors import DurianError

SENT = [({"id": 1}, (b"abc", b"")), ({"id": 2, "text": "ä"}, ()), ({"id": 3}, (bytes(300), b"end"))]
STREAM = b"".join(encode(header, *payload) for header, payload in SENT)
EXPECTED = [Frame(header, b"".join(payload)) for header, payload in SENT]


@pytest.mark.parametrize("step", [1, 3, 7, 64, len(STREAM)])
def test_a_stream_cut_anywhere_gives_the_same_frames(step: int) -> None:
    frames = Frames()
    parts = [STREAM[start : start + step] for start in range(0, len(STREAM), step)]
    assert [frame for part in parts for frame in frames.feed(part)] == EXPECTED


def test_arrays_keep_every_bit() -> None:
    odd = np.array([[np.pi, -0.0], [np.float32(1e-45), np.inf]], np.float32)
    sent = {"outputs": odd.T, "unknown": np.array([True, False]), "empty": np.empty((0, 4), np.float32)}
    header, payload = arrays_header(sent)
    (frame,) = Frames().feed(encode(header, *payload))
    got = arrays_of(*frame)
    assert list(got) == list(sent)
    for name, array in sent.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes()


def test_contents_are_cut_where_they_were_joined() -> None:
    contents = [b"one", b"", b"three"]
    assert contents_of({"sizes": sizes(contents)}, b"".join(contents)) == contents


KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_the_class_it_was(kind: type[DurianError]) -> None:
    sent = kind("input 3: it is not text.", code="bad_text", param="input")
    (frame,) = Frames().feed(encode(error_header(sent)))
    got = error_of(frame.header)
    assert type(got) is kind
    assert (got.message, got.code, got.param) == (sent.message, "bad_text", "input")
    assert error_of({"arrays": []}) is None


def test_an_engine_that_is_away_says_when_to_come_back() -> None:
    assert headers_of(away()) == {"retry-after": "1"}
