"""Images: allow-listed formats, decoded to upright RGB, resized for a backbone.

A JPEG of a camera has fifty times the pixels of a backbone's frame. Where the backbone's card allows it, or
nobody looks at the pixels, libjpeg decodes it at a half, a quarter or an eighth (`Image.draft`).

Stated conversions: transparency is laid over white; CMYK, palette and grey become RGB; 16-bit grey is
divided by 257 (rounded); the EXIF orientation is applied. Floating-point and other modes are refused.
What is stored is the picture alone (`models.modalities.strip`).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.backbone import BackboneCard, ImagePreprocess
from models.base import ModalityName
from models.errors import CorruptArtefact
from models.manifest import InputSpec
from models.modalities.base import Empty, Feeds, Prepared, stacked
from models.modalities.faults import decoding, fault
from models.modalities.media import media_of
from models.modalities.strip import strip

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 25_000_000
_MODES = {"1", "L", "P", "LA", "La", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_REMEDY = "Export the image again as PNG or JPEG."
_ORIENTATION = 0x0112
_FAST = 1
_LEAST = 8  # the most that libjpeg divides by

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

Spare = Callable[[int, int], float]
"""How many times smaller a picture of this width and height may be decoded."""


class ImageModality:
    """One picture a file: PNG, JPEG, WebP, BMP, GIF or TIFF."""

    name: ModalityName = "image"

    def canonical(self, value: object, spec: InputSpec, where: str) -> bytes:
        """The picture without its metadata, after a full decode: PNG, JPEG and WebP with the pixels as they
        came, the others as PNG.

        Raises UnsupportedMedia; InvalidInput `image_too_large` (before any pixel is decoded),
        `undecodable`, `multi_frame` or `image_mode`.
        """
        data, kind = media_of(value, self.name, where)
        picture = _decode(data, where, lambda *_: _LEAST)
        bare = strip(data, kind.format, picture.orientation)
        if bare is not None:
            return bare
        pixels = decode(data, where) if kind.format == "JPEG" else picture.pixels  # no other was reduced
        return encode_png(np.asarray(pixels), _FAST)

    def content(self, value: object, spec: InputSpec, where: str) -> bytes:
        return media_of(value, self.name, where)[0]

    def preprocessor(self, card: BackboneCard, files: Mapping[str, bytes]) -> ImagePreprocessor:
        if not isinstance(card.preprocess, ImagePreprocess):
            raise CorruptArtefact("The image backbone's card describes no image preprocessing.")
        return ImagePreprocessor(card.preprocess, card.input)


def decode(data: bytes, where: str) -> Image.Image:
    """Upright RGB pixels of one encoded picture. Raises as `ImageModality.canonical`."""
    return _decode(data, where).pixels


class _Decoded(NamedTuple):
    pixels: Image.Image
    """Upright RGB."""
    orientation: int
    """In EXIF's numbers; it was applied."""
    region: Box
    """What the source fills: a reduced picture's last row and column may stand for fewer of its pixels."""


def _decode(data: bytes, where: str, spare: Spare | None = None) -> _Decoded:
    """One picture, a JPEG in as few pixels as its `spare` size leaves."""
    library = load_plugins()
    data, kind = media_of(data, "image", where)
    with decoding(where, _REMEDY), library.open(io.BytesIO(data), formats=(kind.format,)) as picture:
        _check_header(picture, where)
        region = _reduce(picture, 1.0 if spare is None else spare(*picture.size))
        picture.load()
        orientation = _orientation(picture)
        pixels = _rgb(picture, where)
        region = _turned(region, pixels.size, orientation)
        turn = _turn(orientation)
        return _Decoded(pixels if turn is None else pixels.transpose(turn), orientation, region)


def _reduce(picture: Image.Image, times: float) -> Box:
    """Have a JPEG decoded smaller, by no more than so many times. The region that it will fill."""
    width, height = picture.size
    drafted = None
    if times >= 2:
        drafted = picture.draft(None, (math.ceil(width / times), math.ceil(height / times)))
    return (0.0, 0.0, float(width), float(height)) if drafted is None else drafted[1]


def load_plugins() -> Any:
    """Pillow with the formats that are read, and no others."""
    from PIL import (  # noqa: F401 (the plugins register themselves)
        BmpImagePlugin,
        GifImagePlugin,
        Image,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    Image.MAX_IMAGE_PIXELS = None  # Pillow's limit is 179 Mpx and first warns; ours is stricter
    return Image


def _check_header(picture: Image.Image, where: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise fault(
            where,
            f"the image has {width * height / 1e6:.0f} megapixels, more than {MAX_PIXELS // 10**6}. "
            "Scale it down.",
            "image_too_large",
        )
    # A JPEG with a second picture (MPO: depth maps, previews) is its first one, as everywhere else.
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise fault(
            where, "the image has several frames. Send the frames you mean one by one.", "multi_frame"
        )


def _orientation(picture: Image.Image) -> int:
    """1 to 8, as EXIF has it; 1 is upright."""
    try:
        found = int(picture.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return found if 1 <= found <= 8 else 1


def _turn(orientation: int) -> Any:
    """The transposition that makes a picture upright; None for none."""
    from PIL import Image

    return {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)


def _turned(region: Box, size: tuple[int, int], orientation: int) -> Box:
    """Where a region at the upper left of a picture of this size lies once it is upright."""
    _, _, right, bottom = region
    beside, below = size[0] - right, size[1] - bottom
    if orientation >= 5:  # rows become columns
        right, bottom, beside, below = bottom, right, below, beside
    left = beside if orientation in (2, 3, 6, 7) else 0.0
    top = below if orientation in (3, 4, 7, 8) else 0.0
    return (left, top, left + right, top + bottom)


def _rgb(picture: Image.Image, where: str) -> Image.Image:
    if picture.mode.startswith("I;16"):
        return _from_16_bit(picture)
    if picture.mode not in _MODES:
        raise fault(
            where, "the image's pixels are neither 8-bit nor 16-bit grey. Convert it to RGB.", "image_mode"
        )
    if picture.has_transparency_data:
        return _over_white(picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy every pixel


def _from_16_bit(picture: Image.Image) -> Image.Image:
    from PIL import Image

    grey = (np.asarray(picture).astype(np.uint32) + 128) // 257
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _over_white(picture: Image.Image) -> Image.Image:
    from PIL import Image

    layer = picture.convert("RGBA")
    page = Image.new("RGB", layer.size, "white")
    page.paste(layer, mask=layer.getchannel("A"))
    return page


def encode_png(pixels: NDArray[np.uint8], effort: int = 6) -> bytes:
    """PNG of `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]` pixels; equal pixels give equal bytes.

    `effort` is zlib's level, 0 to 9.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    buffer = io.BytesIO()
    load_plugins().fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=effort)
    return buffer.getvalue()


class ImagePreprocessor:
    """RGB `[height, width, 3]` (NHWC) or `[3, height, width]` (NCHW), uint8 or float32."""

    def __init__(self, how: ImagePreprocess, input_name: str) -> None:
        self._how = how
        self._input = input_name
        self._mean = np.array(how.mean, np.float32)
        self._std = np.array(how.std, np.float32)

    def prepare(self, content: bytes, where: str = "input") -> Prepared:
        how = self._how
        frame = (how.width, how.height)
        picture, _, region = _decode(content, where, self._spare)
        if picture.size != frame:
            box = _box(region, how)
            picture = picture.resize(frame, _filter(how.resample), box=box, reducing_gap=how.reducing_gap)
        pixels: NDArray[Any] = np.asarray(picture)
        if how.dtype == "float32":
            pixels = (pixels.astype(np.float32) * np.float32(how.scale) - self._mean) / self._std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if how.layout == "NCHW" else pixels)

    def _spare(self, width: int, height: int) -> float:
        how = self._how
        if how.reducing_gap is None or how.resample == "nearest":
            return 1.0
        # For the picture as it lies and turned: its orientation is not known yet.
        step = min(width, height) / max(how.width, how.height)
        return (step * how.crop_ratio if how.fit == "crop" else step) / how.reducing_gap

    def size(self, prepared: Prepared) -> int:
        return 1

    def collate(self, batch: Sequence[Prepared], empty: Empty = np.empty) -> Feeds:
        return {self._input: stacked(batch, empty)}


def _filter(name: str) -> Any:
    from PIL import Image

    return Image.Resampling[name.upper()]


def _box(region: Box, how: ImagePreprocess) -> Box:
    """The part of the source that fills the frame.

    For `crop` this is the usual "resize the short side, cut the centre" in one step, so that a very
    long picture never exists at its resized length.
    """
    if how.fit == "squash":
        return region
    left, top, right, bottom = region
    step = min((right - left) / how.width, (bottom - top) / how.height) * how.crop_ratio
    half_width, half_height = how.width * step / 2, how.height * step / 2
    across, down = (left + right) / 2, (top + bottom) / 2
    return (
        max(left, across - half_width),
        max(top, down - half_height),
        min(right, across + half_width),
        min(bottom, down + half_height),
    )


MODALITY = ImageModality()
