"""What is stored of a picture: the same pixels, upright, and nothing else that came with it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.manifest import InputSpec
from models.modalities import modality
from models.modalities.image import decode
from models.modalities.strip import strip
from tests.media import encoded, picture, png

SECRET = b"taken at 52.5200 N 13.4050 E"
XMP = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"


def canonical(data: bytes) -> bytes:
    return modality("image").canonical(data, InputSpec(modality="image"), "row 1")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, "input"))


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = SECRET.decode()
    return block


def with_text(image: Image.Image, orientation: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_text("Compressed", SECRET.decode(), zip=False)
    return encoded(image, "PNG", pnginfo=text, exif=exif(orientation), icc_profile=SECRET)


def with_segments(image: Image.Image, orientation: int, **options: object) -> bytes:
    data = encoded(
        image, "JPEG", exif=exif(orientation), comment=SECRET, xmp=XMP, icc_profile=SECRET, **options
    )
    iptc = b"\xff\xed" + struct.pack(">H", len(SECRET) + 2) + SECRET
    return data[:2] + iptc + data[2:]


MAKERS = {
    "png": with_text,
    "jpeg": with_segments,
    "progressive": lambda image, turn: with_segments(image, turn, progressive=True),
    "restarts": lambda image, turn: with_segments(image, turn, restart_marker_blocks=1),
    "cmyk": lambda image, turn: with_segments(image.convert("CMYK"), turn),
    "grey": lambda image, turn: with_segments(image.convert("L"), turn),
    "webp": lambda image, turn: encoded(
        image, "WEBP", exif=exif(turn), xmp=XMP, icc_profile=SECRET, quality=80
    ),
    "webp alpha": lambda image, turn: encoded(
        image.convert("RGBA"), "WEBP", exif=exif(turn), xmp=XMP, lossless=True
    ),
    "tiff": lambda image, turn: encoded(image, "TIFF", exif=exif(turn)),
    "gif": lambda image, _: encoded(image, "GIF", comment=SECRET),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_pixels_stay_and_what_else_there_was_goes(make, orientation):
    data = make(picture(64, 48), orientation) + b"%PDF-1.4 " + SECRET
    kept = canonical(data)
    assert SECRET in data
    assert SECRET not in kept
    assert b"%PDF" not in kept
    np.testing.assert_array_equal(pixels(kept), pixels(data))
    assert canonical(kept) == kept


def test_equal_pictures_are_one_example_whatever_is_written_beside_them():
    image = picture(64, 48)
    assert canonical(with_segments(image, 1)) == canonical(encoded(image, "JPEG"))
    assert canonical(with_text(image, 1)) == canonical(encoded(image))


def test_a_transparent_palette_keeps_its_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    data = encoded(image, "PNG", transparency=0)
    assert pixels(canonical(data)).tolist() == pixels(data).tolist() == [[[255, 255, 255]] * 2]


def test_a_picture_with_a_thumbnail_in_its_exif_keeps_the_picture():
    preview = encoded(picture(8, 8, seed=1), "JPEG")
    block = Image.Exif()
    block[0x0112] = 6
    thumb = b"Exif\0\0" + block.tobytes()[6:] + preview
    data = encoded(picture(64, 48), "JPEG", exif=thumb)
    assert preview not in canonical(data)
    np.testing.assert_array_equal(pixels(canonical(data)), pixels(data))


@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP"])
def test_parts_that_do_not_add_up_are_not_copied(container):
    data = encoded(picture(64, 48), container)
    assert strip(data, container, 1) == data
    assert strip(data[:12], container, 1) is None
    assert strip(data, "TIFF", 1) is None


def test_golden_pixels_of_every_mode():
    """The stated conversions, to the number; PNG holds each mode but CMYK without loss."""
    grey = np.array([[0, 100, 255]], np.uint8)
    deep = np.array([[0, 300, 65535]], np.uint16)
    colours = np.array([[[255, 0, 0], [0, 255, 0], [1, 2, 3]]], np.uint8)
    alpha = np.dstack([colours, np.array([[255, 0, 128]], np.uint8)])
    golden = {
        "1": (Image.fromarray(grey).convert("1", dither=0), [[0] * 3, [0] * 3, [255] * 3]),
        "L": (Image.fromarray(grey), [[0] * 3, [100] * 3, [255] * 3]),
        "I;16": (Image.fromarray(deep), [[0] * 3, [1] * 3, [255] * 3]),
        "RGB": (Image.fromarray(colours), colours[0].tolist()),
        "RGBA": (Image.fromarray(alpha), [[255, 0, 0], [255, 255, 255], [127, 128, 128]]),
        "P": (Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE), colours[0].tolist()),
    }
    for mode, (image, expected) in golden.items():
        assert image.mode == mode
        got = pixels(canonical(encoded(image)))[0].tolist()
        assert np.abs(np.array(got) - np.array(expected)).max() <= (1 if mode == "RGBA" else 0), mode


def test_a_chunk_that_names_a_file_type_inside_is_no_end():
    """A marker within a table or a chunk is data."""
    data = png(16, 16)
    body = b"IEND\xff\xd9" * 4
    chunk = struct.pack(">I", len(body)) + b"prVt" + body + struct.pack(">I", zlib.crc32(b"prVt" + body))
    assert canonical(data[:33] + chunk + data[33:]) == data


def test_the_decoder_reads_what_is_kept_in_any_other_program():
    kept = canonical(with_segments(picture(64, 48), 6))
    with Image.open(io.BytesIO(kept)) as image:
        assert image.getexif()[0x0112] == 6
        assert image.size == (64, 48)
