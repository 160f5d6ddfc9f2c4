"""Frames of the connections between processes: two lengths, a JSON header, raw bytes.

Front-ends and the engine speak in them, and the service with the children that decode.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models import errors
from models.errors import DurianError

Header = dict[str, Any]
Arrays = Mapping[str, NDArray[Any]]
LENGTHS = struct.Struct("<II")
"""Bytes of the header, bytes of the payload."""


class Frame(NamedTuple):
    """One message; what the payload holds is told by the header."""

    header: Header
    payload: bytes


def encode(header: Header, *payload: bytes) -> bytes:
    """A frame as it goes over the wire."""
    head = orjson.dumps(header)
    return b"".join((LENGTHS.pack(len(head), sum(map(len, payload))), head, *payload))


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = LENGTHS.size

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        if self._rest or len(data) < self._needed:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), bytearray()
        start = 0
        while len(data) - start >= self._size(data, start):
            head, body = LENGTHS.unpack_from(data, start)
            middle = start + LENGTHS.size + head
            yield Frame(orjson.loads(data[start + LENGTHS.size : middle]), data[middle : middle + body])
            start = middle + body
        self._rest += data[start:]
        self._needed = self._size(data, start)

    @staticmethod
    def _size(data: bytes, start: int) -> int:
        """Bytes of the frame that begins here, as far as that can be told."""
        if len(data) - start < LENGTHS.size:
            return LENGTHS.size
        head, body = LENGTHS.unpack_from(data, start)
        return LENGTHS.size + int(head) + int(body)


def error_header(error: DurianError) -> Header:
    """An error of the engine's process."""
    return {"error": [type(error).__name__, error.message, error.code, error.param]}


def error_of(header: Header) -> DurianError | None:
    """The error that a reply carries, if it does: of the same class, with the same words."""
    if "error" not in header:
        return None
    name, message, code, param = header["error"]
    kind: type[DurianError] = getattr(errors, name, DurianError)
    return kind(message, code=code, param=param)


def arrays_header(arrays: Arrays) -> tuple[Header, list[bytes]]:
    """Arrays as they are in memory: names, types and shapes in the header, their bytes in the payload."""
    told = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    return {"arrays": told}, [array.tobytes() for array in arrays.values()]


def arrays_of(header: Header, payload: bytes) -> dict[str, NDArray[Any]]:
    """The inverse: read-only views of the payload."""
    found, start = {}, 0
    for name, dtype, shape in header["arrays"]:
        count = prod(shape)
        found[name] = np.frombuffer(payload, dtype, count, start).reshape(shape)
        start += found[name].nbytes
    return found


def sizes(contents: Sequence[bytes]) -> list[int]:
    """The header's note of where one content ends and the next begins."""
    return [len(content) for content in contents]


def contents_of(header: Header, payload: bytes) -> list[bytes]:
    """The contents that lie one after the other in the payload."""
    return list(_cut(header["sizes"], payload))


def _cut(lengths: Sequence[int], payload: bytes) -> Iterator[bytes]:
    for start, end in pairwise(accumulate(lengths, initial=0)):
        yield payload[start:end]
