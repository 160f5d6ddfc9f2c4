"""NumPy archives: `x`, optional `y`, `unlabelled` (more rows like `x`) and `grid` (shared by all rows)."""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from models.errors import InvalidInput, TooLarge
from models.formats.archive import MAX_MEMBER, files, opened
from models.formats.columns import signals
from models.formats.rows import Format, Parsed, Row, Wanted, check_count, ignored
from models.modalities.faults import fault
from models.modalities.image import encode_png

Array = NDArray[Any]
_NAMES = {"x", "y", "unlabelled", "grid"}
_VALUES = "iuf"
_LABELS = "biufU"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read(data: bytes, wanted: Wanted) -> Parsed:
    """Rows of `x`, then of `unlabelled`. Raises InvalidInput `missing_field`, `dtype`, `npz_shape`."""
    arrays, others = _load(data)
    if "x" not in arrays:
        raise InvalidInput(
            "The archive has no array x. Expected x, and optionally y, unlabelled and grid.",
            code="missing_field",
            param="x",
        )
    x, more = arrays["x"], arrays.get("unlabelled")
    check_count(len(x) + (0 if more is None else len(more)))
    pictures = _pictures(x, wanted)
    grid = arrays.get("grid")
    rows = _rows("row", x, _labels(x, arrays.get("y")), grid, pictures)
    if more is not None:
        rows += _rows("unlabelled row", more, [None] * len(more), grid, pictures)
    return Parsed(rows, "image" if pictures else "signal", ignored(others, "array"))


def _load(data: bytes) -> tuple[dict[str, Array], int]:
    """The arrays Durian knows, and how many others there are."""
    arrays: dict[str, Array] = {}
    with opened(data) as archive:
        entries = files(archive)
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in _NAMES:
                with archive.open(entry) as stream:
                    arrays[name] = _array(name, entry, stream)
    return arrays, len(entries) - len(arrays)


def _array(name: str, entry: zipfile.ZipInfo, stream: IO[bytes]) -> Array:
    """One array, whose header must promise exactly the bytes that the archive has for it."""
    version = npy.read_magic(stream)
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.kind not in (_LABELS if name == "y" else _VALUES):
        raise fault(name, "this type of values is not read. Convert to float32, integers or uint8.", "dtype")
    if not shape:
        raise fault(name, "a single value is no array of rows.", "npz_shape")
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_MEMBER:
        raise fault(name, "the array is too large. Split it.", "archive_too_large", TooLarge)
    if size > entry.file_size:
        raise fault(name, "the header promises more data than there is. Save it again.", "undecodable")
    flat = np.frombuffer(stream.read(), dtype)
    ordered = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return ordered.astype(dtype.newbyteorder("="), copy=False)


def _pictures(x: Array, wanted: Wanted) -> bool:
    """Whether `x` holds pixels (uint8 [N, H, W] or [N, H, W, C]) rather than signals."""
    if wanted.modality == "signal" or x.dtype != np.uint8:
        return False
    return x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3, 4))


def _labels(x: Array, y: Array | None) -> list[object]:
    if y is None:
        return [None] * len(x)
    if y.shape != (len(x),):
        raise fault("y", f"expected {len(x)} labels in one dimension, one for each row of x.", "bad_label")
    if y.dtype.kind == "U" and (y.view(np.uint32) > sys.maxunicode).any():
        raise fault("y", "a label is not valid Unicode. Save the array again.", "bad_label")
    labels: list[object] = y.tolist()
    return labels


def _rows(place: str, x: Array, labels: Sequence[object], grid: Array | None, pictures: bool) -> list[Row]:
    inputs: Sequence[object] = [encode_png(p) for p in x] if pictures else _signals(x, grid)
    return [Row(f"{place} {i}", *pair) for i, pair in enumerate(zip(inputs, labels, strict=True), 1)]


def _signals(x: Array, grid: Array | None) -> list[object]:
    """Rows of [N, points]; of [N, 1, points] and [N, points, 1] too, which hold one channel."""
    if x.ndim == 3 and 1 in x.shape[1:]:
        x = x.reshape(len(x), -1)
    if x.ndim != 2:
        raise fault(
            "x",
            "expected signals of one channel [N, points], or uint8 images [N, H, W] or [N, H, W, C].",
            "npz_shape",
        )
    return signals(x.astype(np.float64), grid)


def _looks_like(data: bytes) -> bool:
    """A zip archive whose first member is an array."""
    name = data[30 : 30 + int.from_bytes(data[26:28], "little")]
    return data[:4] == b"PK\x03\x04" and name.endswith(b".npy")


FORMAT = Format("npz", (".npz",), _looks_like, read)
