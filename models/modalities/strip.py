"""Encoded pictures without what is no picture: EXIF, XMP, comments, colour profiles, what follows the end.

Where and when a picture was taken is no business of a model's, and a file that is a picture and something
else besides ends up as the picture alone. The compressed pixels are copied as they are; the orientation is
kept, in an EXIF block of its own.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

_JPEG_KEPT = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_JPEG_DROPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""Application segments but JFIF's and Adobe's (which tells the colours), and comments."""
_SCAN, _END = 0xDA, 0xD9
# Begins with one byte as it stands, for which `re` is twenty times as fast as for a repetition.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_WEBP_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH"}
_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08


def strip(data: bytes, container: str, orientation: int) -> bytes | None:
    """The bare picture, to be turned by the EXIF `orientation` (1 for not at all).

    None where that cannot be had by copying: another container, or one whose parts do not add up.
    """
    bare = _BARE.get(container)
    try:
        return None if bare is None else bare(data, _exif(orientation) if orientation != 1 else b"")
    except (IndexError, struct.error):
        return None


def _exif(orientation: int) -> bytes:
    """A TIFF structure with one entry (EXIF 2.32, section 4.6)."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _jpeg(data: bytes, exif: bytes) -> bytes | None:
    """Segments up to the end of the first picture (ITU-T T.81, annex B)."""
    kept = [data[:2]]
    if exif:
        kept.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif)
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker = found[1][0]
        if marker == _END:
            return b"".join((*kept, b"\xff\xd9"))
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        if length < 2:  # not even its own two bytes: decoders differ on what comes next
            return None
        at = found.end() + length
        begins = _JPEG_KEPT.get(marker)
        if marker in _JPEG_DROPPED or (begins and not data.startswith(begins, found.end() + 2)):
            continue
        if marker == _SCAN and (following := _MARKER.search(data, at)) is not None:
            at = following.start()  # with the compressed pixels, in which no marker can stand
        kept.append(b"\xff" + data[found.end() - 1 : at])
    return None


def _png(data: bytes, exif: bytes) -> bytes | None:
    """Chunks that the pixels need (PNG 1.2, chapter 3)."""
    kept, at = [data[:8]], 8
    while len(data) >= at + 12:
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT" and exif:
            kept.append(_chunk(b"eXIf", exif))
            exif = b""
        if name in _PNG_KEPT:
            kept.append(data[at : at + 12 + size])
        if name == b"IEND":
            return b"".join(kept)
        at += 12 + size
    return None


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _webp(data: bytes, exif: bytes) -> bytes | None:
    """Chunks of a still picture (RFC 9649)."""
    kept = []
    for name, body in _riff(data):
        if name == b"VP8X":
            flags = body[0] & _WEBP_ALPHA | (_WEBP_EXIF if exif else 0)
            body = bytes([flags]) + body[1:]
        if name in _WEBP_KEPT:
            kept.append((name, body))
    names = [name for name, _ in kept]
    if not {b"VP8 ", b"VP8L"}.intersection(names) or (exif and b"VP8X" not in names):
        return None
    if exif:
        kept.append((b"EXIF", exif))
    parts = [struct.pack("<4sI", name, len(body)) + body + bytes(len(body) % 2) for name, body in kept]
    body = b"WEBP" + b"".join(parts)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def _riff(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


_BARE: dict[str, Callable[[bytes, bytes], bytes | None]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
