"""What an audio file's headers promise, held against the bytes that are there.

libsndfile forgives lengths that lie and opens codecs with a history of overflows (CVE-2026-37555, ADPCM),
so WAV files are walked here before it sees them, and the last page of an Ogg stream is measured.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_LINEAR = {1, 3}  # WAVE_FORMAT_PCM, WAVE_FORMAT_IEEE_FLOAT
_EXTENSIBLE = 0xFFFE


class Mismatch(ValueError):
    """The container contradicts itself."""


class UnlistedCodec(ValueError):
    """The container holds a codec that is not on the allow-list."""


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(id, body) of each RIFF chunk; a chunk that outruns the file raises Mismatch."""
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + size]
        if len(body) < size:
            raise Mismatch
        yield name, body
        position += 8 + size + size % 2


def check_wav(data: bytes) -> None:
    """Raises UnlistedCodec unless the samples are linear PCM or float, Mismatch when a length lies."""
    listed = False
    for name, body in _chunks(data):
        if name == b"fmt ":
            listed = _codec(body) in _LINEAR
            if not listed:
                raise UnlistedCodec
        if name == b"data":
            if not listed or not body:
                raise Mismatch
            return
    raise Mismatch


def _codec(fmt: bytes) -> int:
    if len(fmt) < 16:
        raise Mismatch
    tag = int.from_bytes(fmt[:2], "little")
    return int.from_bytes(fmt[24:26], "little") if tag == _EXTENSIBLE else tag


def check_ogg(data: bytes) -> None:
    """Raises Mismatch when the last page is cut short (RFC 3533, section 6)."""
    start = data.rfind(b"OggS")
    lacing = data[start + 27 : start + 27 + data[start + 26]] if start + 26 < len(data) else b""
    if not lacing or start + 27 + len(lacing) + sum(lacing) > len(data):
        raise Mismatch


def check_container(container: str, data: bytes) -> None:
    """As `check_wav` and `check_ogg`; libsndfile itself stops at a FLAC frame with a wrong checksum."""
    if container == "WAV":
        check_wav(data)
    elif container == "OGG":
        check_ogg(data)
