"""Small media files made on the spot, and the specs that go with them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from models.backbone import BackboneCard, Preprocess, Tap
from models.base import ModalityName

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "where", "is", "my", "parcel")


def picture(width: int = 6, height: int = 4, mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, container: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, container, **options)
    return buffer.getvalue()


def png(width: int = 6, height: int = 4, mode: str = "RGB", seed: int = 0) -> bytes:
    return encoded(picture(width, height, mode, seed))


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises `width` x `height` RGB pixels and whose data hold next to none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def tone(seconds: float = 0.1, rate: int = 8000, hertz: float = 440) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def clip(
    wave: NDArray[np.float64], rate: int = 8000, container: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def jsonl(*rows: object) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def tokenizer_json() -> bytes:
    """A word-level tokenizer of a few words, with BERT's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str().encode()


def card(modality: ModalityName, preprocess: Preprocess, input_name: str = "input") -> BackboneCard:
    """The card of a backbone that needs no graph."""
    return BackboneCard(
        id=f"{modality}/test",
        modality=modality,
        preprocess=preprocess,
        input=input_name,
        taps=(Tap(name="top", dim=4, depth=1),),
        default_tap="top",
        parameters=0,
        licence="test",
        source="test",
        files={},
    )
