"""Mutants of uploads of every format: `python -m tests.mutants.files FIRST END SABOTAGE`."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from app.decoding.limits import bound
from models.backbone import AudioPreprocess, ImagePreprocess
from models.dataset import Pack
from models.errors import DurianError
from models.formats import pack_rows, read_pack
from models.modalities import preprocessor
from tests import media
from tests.mutants.changes import Seed
from tests.mutants.harness import burn, main

MEMORY = 2 * 1024**3
SPOILT = "stored what cannot be read"


def seeds() -> list[Seed]:
    """One file of every format, and of every way in which it is commonly written."""
    return [*(("", data) for data in (*_pictures(), *_clips())), *_files()]


def _pictures() -> Iterator[bytes]:
    image = media.picture(24, 18)
    yield media.encoded(image)
    yield media.encoded(image.convert("P", palette=Image.Palette.ADAPTIVE), transparency=0)
    yield media.encoded(Image.fromarray((np.arange(300, dtype=np.uint16) * 200).reshape(15, 20)))
    for options in ({}, {"progressive": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}):
        yield media.encoded(image, "JPEG", **options)
    yield media.encoded(image.convert("CMYK"), "JPEG")
    yield media.encoded(image, "WEBP")
    yield media.encoded(image.convert("RGBA"), "WEBP", lossless=True)
    for container in ("GIF", "BMP"):
        yield media.encoded(image, container)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield media.encoded(image, "TIFF", compression=compression)


def _clips() -> Iterator[bytes]:
    for container, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ):
        yield _dateless(media.clip(media.tone(0.05), 8000, container, subtype))


def _dateless(clip: bytes) -> bytes:
    """Without what libsndfile takes from the clock: the time of a WAV's peak, the serial number of an Ogg."""
    if b"PEAK" in clip:
        at = clip.index(b"PEAK") + 12
        return clip[:at] + bytes(4) + clip[at + 4 :]
    pages = clip.split(b"OggS")[1:] if clip.startswith(b"OggS") else []
    return b"".join(_page(b"OggS" + page) for page in pages) or clip


def _page(page: bytes) -> bytes:
    """An Ogg page with serial number 1 and its checksum (RFC 3533, section 6)."""
    page = page[:14] + (1).to_bytes(4, "little") + page[18:22] + bytes(4) + page[26:]
    return page[:22] + _ogg_crc(page).to_bytes(4, "little") + page[26:]


def _ogg_crc(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    return crc


def _files() -> Iterator[Seed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture, signals = media.png(), np.arange(12, dtype="<f4").reshape(3, 4)
    encoded = base64.b64encode(picture).decode()
    yield "a.jsonl", media.jsonl({"input": "one text", "label": "a"}, {"input": "another", "label": None})
    yield "b.jsonl", media.jsonl({"input": encoded, "label": "a"})
    yield "c.jsonl", media.jsonl({"input": {"grid": [0, 1, 2], "values": [1, 2, 3]}, "label": 0.5})
    yield "a.csv", b'text,label\n"one, text",a\nanother,\n'
    yield "b.csv", b"850,851.5,label\n1,2,0.1\n3,4,0.2\n"
    yield "a.npz", media.npz(x=signals, y=np.array(["a", "b", "a"]), grid=np.arange(4.0))
    yield "b.npz", media.npz(x=np.arange(40, dtype=np.uint8).reshape(2, 4, 5), y=np.arange(2))
    yield "a.zip", media.zipped({"cat/1.png": picture, "dog/2.png": media.png(seed=1)})
    yield "b.zip", media.zipped({"labels.csv": "file,label\n1.txt,a\n", "1.txt": "text", "2.txt": "b"}, 0)
    table = pa.table({"text": ["one", "two", "three"], "label": ["a", "b", None]})
    pixels = pa.table({"image": pa.array([picture]), "label": ["a"]})
    numbers = pa.table({"1": [0.5, 1.5], "2": [1, 2], "label": [0.1, 0.2]})
    for name, content, options in (
        ("a", table, {"compression": "snappy"}),
        ("b", pixels, {"compression": "none", "use_dictionary": False}),
        ("c", numbers, {"compression": "gzip", "data_page_version": "2.0"}),
        ("d", table, {"compression": "zstd"}),
    ):
        buffer = io.BytesIO()
        pq.write_table(content, buffer, **options)
        yield f"{name}.parquet", buffer.getvalue()


_PREPARE = {
    "image": preprocessor(media.card("image", ImagePreprocess(width=4, height=4)), {}).prepare,
    "audio": preprocessor(media.card("audio", AudioPreprocess(sample_rate=8000, seconds=0.1)), {}).prepare,
}


def judge(name: str, data: bytes) -> str | None:
    """Read the file as an upload is; what is stored of it must be fit for a backbone."""
    pack = _read(name, data)
    return None if all(_readable(pack, content) for content in pack.contents) else SPOILT


def _read(name: str, data: bytes) -> Pack:
    if name:
        return read_pack(name, data, modality=None, task=None)
    return pack_rows([("row 1", data, "a")], modality=None, task=None)


def _readable(pack: Pack, content: bytes) -> bool:
    prepare = _PREPARE.get(pack.input.modality)
    try:
        return prepare is None or prepare(content) is not None
    except DurianError:
        return False


# --- faults planted in our own code, which the harness must find --------------------------------


def _leak() -> None:
    """The wrapper of decoders lets what they raise through."""
    from contextlib import nullcontext

    from models.modalities import audio, image

    image.decoding = audio.decoding = lambda where, remedy: nullcontext()  # type: ignore[assignment]


def _every(count: int, action: Callable[[], object]) -> None:
    """A decoder that does something else with every so many pictures."""
    real, seen = Image.open, iter(range(10**9))

    def opened(*arguments: Any, **options: Any) -> Any:
        if next(seen) % count == count - 1:
            action()
        return real(*arguments, **options)

    Image.open = opened


def _crash() -> None:
    import ctypes

    _every(90, lambda: ctypes.string_at(0))


def _dawdle() -> None:
    _every(90, burn)


def _spoil() -> None:
    """What is kept of a picture lacks its end."""
    from models.modalities import image

    real = image.strip
    image.strip = lambda *given: (bare := real(*given)) and bare[: len(bare) // 2]  # type: ignore[assignment]


SABOTAGE: dict[str, Callable[[], None]] = {"leak": _leak, "crash": _crash, "dawdle": _dawdle, "spoil": _spoil}


if __name__ == "__main__":
    main(seeds(), judge, SABOTAGE, partial(bound, MEMORY))
