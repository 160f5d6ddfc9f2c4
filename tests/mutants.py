"""Seeded mutants of files of every format, each shown to the reader that an upload meets.

`python -m tests.mutants FIRST COUNT [SABOTAGE]` judges the mutants in this process, which may not survive;
`run` starts it anew behind each mutant that ended it. Mutant i is the same in every run.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.decoding.limits import allow, bound
from models.backbone import AudioPreprocess, ImagePreprocess
from models.dataset import Pack
from models.errors import DurianError
from models.formats import pack_rows, read_pack
from models.modalities import preprocessor
from tests import media

ROOT = Path(__file__).resolve().parents[1]
SLOW_SECONDS = 1.0
HUNG_SECONDS = 10.0
MEMORY = 2 * 1024**3
BEGUN = "begun"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Seed = tuple[str, bytes]
"""A file's name ("" for one encoded picture or clip), and its content."""


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
    yield "a.csv", b'text,label\n"one, text",a\nanother,b\n,\n'
    yield "b.csv", b"850,851.5,label\n1,2,0.1\n3,4,0.2\n"
    yield "a.npz", media.npz(x=signals, y=np.array(["a", "b", "a"]), grid=np.arange(4.0))
    yield "b.npz", media.npz(x=np.zeros((2, 4, 5), np.uint8), y=np.arange(2))
    yield "a.zip", media.zipped({"cat/1.png": picture, "dog/2.png": media.png(seed=1)})
    yield "b.zip", media.zipped({"labels.csv": "file,label\n1.txt,a\n", "1.txt": "text", "2.txt": "b"}, 0)
    table = pa.table({"text": ["one", "two", None], "label": ["a", "b", "a"]})
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


def mutant(index: int, originals: list[Seed]) -> Seed:
    """The mutant of that number: one to four changes of one original."""
    rng = np.random.default_rng(index)
    name, data = originals[index % len(originals)]
    for _ in range(rng.integers(1, 5)):
        data = _CHANGES[rng.integers(len(_CHANGES))](rng, data or b"\0")
    return name, data


def _flip(rng: Any, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]


def _scramble(rng: Any, data: bytes) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        changed[at] = int(rng.integers(256))
    return bytes(changed)


def _cut(rng: Any, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _drop(rng: Any, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 33)) :]


def _repeat(rng: Any, data: bytes) -> bytes:
    start, at = (int(x) for x in rng.integers(len(data), size=2))
    return data[:at] + data[start : start + int(rng.integers(1, 65))] * int(rng.integers(1, 9)) + data[at:]


def _number(rng: Any, data: bytes) -> bytes:
    """A length, a count or an offset at its limits, where most formats have theirs: near the start."""
    size, order = (1, 2, 4)[rng.integers(3)], ("little", "big")[rng.integers(2)]
    at = int(rng.integers(min(len(data), 96) if rng.integers(2) else len(data)))
    value = _NUMBERS[rng.integers(len(_NUMBERS))] % 256**size
    return data[:at] + value.to_bytes(size, order) + data[at + size :]


_CHANGES: tuple[Callable[[Any, bytes], bytes], ...] = (_flip, _scramble, _cut, _drop, _repeat, _number)
_PREPARE = {
    "image": preprocessor(media.card("image", ImagePreprocess(width=4, height=4)), {}).prepare,
    "audio": preprocessor(media.card("audio", AudioPreprocess(sample_rate=8000, seconds=0.1)), {}).prepare,
}


def judge(name: str, data: bytes) -> str | None:
    """What is wrong with how this file was read; None where it was read, or refused as it should be."""
    started = time.process_time()
    try:
        pack = _read(name, data)
    except DurianError as error:
        if error.code == "error":
            return "an error without a code"
    except Exception as error:
        return f"raised {type(error).__name__}"
    else:
        if any(not _readable(pack, content) for content in pack.contents):
            return "stored what cannot be read"
    seconds = time.process_time() - started
    return f"took {seconds:.1f} s" if seconds > SLOW_SECONDS else None


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
    _every(90, lambda: _burn(1.1 * SLOW_SECONDS))


def _burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _spoil() -> None:
    """What is kept of a picture lacks its end."""
    from models.modalities import image

    real = image.strip
    image.strip = lambda *given: (bare := real(*given)) and bare[: len(bare) // 2]  # type: ignore[assignment]


SABOTAGE: dict[str, Callable[[], None]] = {"leak": _leak, "crash": _crash, "dawdle": _dawdle, "spoil": _spoil}


# --- running ------------------------------------------------------------------------------------


@dataclass
class Findings:
    """How many mutants were judged, and what was wrong with which."""

    judged: int = 0
    wrong: dict[int, str] = field(default_factory=dict)


def run(first: int, count: int, sabotage: str = "") -> Findings:
    """Judge mutants in a process of their own, started anew behind one that ends it."""
    found, last = Findings(), first + count
    while first < last:
        command = [sys.executable, "-W", "ignore", "-m", "tests.mutants", str(first), str(last), sabotage]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        lines = [json.loads(line) for line in told.stdout.splitlines()]
        assert lines, told.stderr.decode()  # it did not even start
        verdicts = dict(lines)  # of two lines on a mutant the last one counts
        found.judged += len(verdicts)
        found.wrong |= {index: wrong for index, wrong in verdicts.items() if wrong not in (None, BEGUN)}
        first = lines[-1][0] + 1
        if lines[-1][1] == BEGUN:
            found.wrong[first - 1] = f"ended the process: {told.returncode}"
    return found


def main(first: int, last: int, sabotage: str) -> None:
    """One line a mutant, `[index, what is wrong or null]`; before it `[index, "begun"]`."""
    originals = seeds()
    for name, data in originals:
        assert judge(name, data) is None, name  # the originals are sound, and everything is loaded
    if sabotage:
        SABOTAGE[sabotage]()
    bound(MEMORY)
    out = sys.stdout
    for index in range(first, last):
        name, data = mutant(index, originals)
        out.write(json.dumps([index, BEGUN]) + "\n")
        out.flush()
        allow(HUNG_SECONDS)
        wrong = judge(name, data)
        allow(0)
        out.write(json.dumps([index, wrong]) + "\n")
    out.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
