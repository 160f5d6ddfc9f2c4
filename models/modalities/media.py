"""Encoded media: its bytes out of base64 or a data URL, and what kind its first bytes say it is."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

import pybase64

from models.base import ModalityName
from models.errors import DurianError, UnsupportedMedia
from models.modalities.faults import fault

_DATA_URL = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}", re.ASCII)
HEAD = 16
"""Bytes that `sniff` needs."""


class MediaKind(NamedTuple):
    """A modality and the container, in the decoder's name for it."""

    modality: ModalityName
    format: str


def sniff(data: bytes) -> MediaKind | None:
    """The kind of an encoded file by its magic bytes; None when Durian does not read it."""
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


_RIFF = {b"WAVE": MediaKind("audio", "WAV"), b"WEBP": MediaKind("image", "WEBP")}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", MediaKind("image", "PNG")),
    (b"\xff\xd8\xff", MediaKind("image", "JPEG")),
    (b"GIF87a", MediaKind("image", "GIF")),
    (b"GIF89a", MediaKind("image", "GIF")),
    (b"BM", MediaKind("image", "BMP")),
    (b"II*\0", MediaKind("image", "TIFF")),
    (b"MM\0*", MediaKind("image", "TIFF")),
    (b"fLaC", MediaKind("audio", "FLAC")),
    (b"OggS", MediaKind("audio", "OGG")),
)


def media_of(value: object, modality: ModalityName, where: str) -> tuple[bytes, MediaKind]:
    """The encoded file in `value`, and its kind.

    Raises as `media_bytes`, and UnsupportedMedia when it is of no kind that this modality reads.
    """
    data = media_bytes(value, where)
    kind = sniff(data)
    if kind is None or kind.modality != modality:
        raise unsupported(modality, where)
    return data, kind


def unsupported(modality: ModalityName, where: str) -> DurianError:
    """UnsupportedMedia, saying what is read."""
    return fault(where, _READ[modality], "unsupported_media", UnsupportedMedia)


_READ: dict[ModalityName, str] = {
    "image": "this is no image that Durian reads. Send PNG, JPEG, WebP, BMP, GIF or TIFF.",
    "audio": "this is no audio that Durian reads. Send WAV (PCM or float), FLAC or Ogg.",
}


def media_bytes(value: object, where: str) -> bytes:
    """The encoded file inside a base64 string, a base64 data URL, or raw bytes.

    Raises InvalidInput: `url_input` (nothing is fetched), `bad_base64`, `bad_media` (another type).
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        raise fault(where, "expected an encoded file as base64 or a data URL.", "bad_media")
    if value[:8].lower().startswith(("http://", "https://")):
        raise fault(where, "URLs are not fetched. Send the file itself as base64.", "url_input")
    return _decode(_payload(value, where), where)


def _payload(value: str, where: str) -> str:
    if not value.startswith("data:"):
        return value
    header = _DATA_URL.match(value)
    if header is None:
        raise fault(where, "the data URL is not of the form data:<type>;base64,<content>.", "bad_base64")
    return value[header.end() :]


def _decode(text: str, where: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)  # 25 times as fast as the standard library's
    except (binascii.Error, ValueError):
        raise fault(
            where,
            "the content is not valid base64. Use the standard alphabet with padding and no line breaks.",
            "bad_base64",
        ) from None


def string_modality(value: str) -> ModalityName | None:
    """What a string input is: by a data URL's type, else by the content's first bytes, else text.

    None for a data URL of a kind Durian does not read.
    """
    header = _DATA_URL.match(value)
    if header is None:
        kind = _sniff_base64(value) if _BASE64.fullmatch(value) else None
        return kind.modality if kind else "text"
    family = (header["mime"] or "").partition("/")[0]
    if family in ("image", "audio"):
        return "image" if family == "image" else "audio"
    kind = _sniff_base64(value[header.end() :])
    return kind.modality if kind else None


def _sniff_base64(text: str) -> MediaKind | None:
    try:
        return sniff(pybase64.b64decode(text[:64]))
    except (binascii.Error, ValueError):
        return None
