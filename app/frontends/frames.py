"""Frames of the connection between a front-end and the engine: two lengths, a JSON header, raw bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

Header = dict[str, Any]
_LENGTHS = struct.Struct("<II")
"""Bytes of the header, bytes of the payload."""


class Frame(NamedTuple):
    """One message; what the payload holds is told by the header."""

    header: Header
    payload: bytes


def encode(header: Header, *payload: bytes) -> bytes:
    """A frame as it goes over the wire."""
    head = orjson.dumps(header)
    return b"".join((_LENGTHS.pack(len(head), sum(map(len, payload))), head, *payload))


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = _LENGTHS.size

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        if self._rest or len(data) < self._needed:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), bytearray()
        start = 0
        while len(data) - start >= self._size(data, start):
            head, body = _LENGTHS.unpack_from(data, start)
            middle = start + _LENGTHS.size + head
            yield Frame(orjson.loads(data[start + _LENGTHS.size : middle]), data[middle : middle + body])
            start = middle + body
        self._rest += data[start:]
        self._needed = self._size(data, start)

    @staticmethod
    def _size(data: bytes, start: int) -> int:
        """Bytes of the frame that begins here, as far as that can be told."""
        if len(data) - start < _LENGTHS.size:
            return _LENGTHS.size
        head, body = _LENGTHS.unpack_from(data, start)
        return _LENGTHS.size + int(head) + int(body)
