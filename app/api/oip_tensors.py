"""Tensors of the Open Inference Protocol v2 as JSON values and as raw bytes.

Little-endian, row-major; a BYTES element stands behind its length in 4 bytes (Triton's
`extension_binary_data.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequest

MAX_BATCH = 2_048
"""Largest first dimension of an input, as in `/v1/predictions`; refused before its data is looked at."""

MAX_DIMENSIONS = 8

NUMERIC = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*NUMERIC, "BYTES")
_JSON_KINDS: dict[str, set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}
_JSON_TYPES = {name: _JSON_KINDS[dtype.kind] for name, dtype in NUMERIC.items()} | {"BYTES": {str}}
"""Datatype -> types of JSON values it takes."""

Values = NDArray[Any] | list[str | bytes]


@dataclass(frozen=True, eq=False)
class Tensor:
    """`data` is an array of `shape`, or for BYTES its elements, row-major (str from JSON, else bytes)."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Values
    binary: bool = False


def bad(message: str, param: str) -> InvalidRequest:
    """The one kind of error this codec raises."""
    return InvalidRequest(message, param=param)


def shape_of(value: Any, where: str) -> tuple[int, ...]:
    """A tensor's shape. Raises InvalidRequest; an empty batch is one of its cases."""
    if not isinstance(value, list) or not value or not all(type(n) is int and n >= 0 for n in value):
        raise bad(f"{where}: the shape is a list of sizes, such as [4] or [4, 256].", f"{where}.shape")
    if value[0] > MAX_BATCH or len(value) > MAX_DIMENSIONS:
        raise bad(
            f"{where}: a batch has at most {MAX_BATCH} elements, a tensor {MAX_DIMENSIONS} dimensions.",
            f"{where}.shape",
        )
    if math.prod(value) == 0:
        raise bad(f"{where}: the batch is empty (shape {value}).", f"{where}.shape")
    return tuple(value)


def from_binary(raw: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Values:
    """Values from their raw bytes. Raises InvalidRequest."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return _split_elements(raw, count, where)
    dtype = NUMERIC[datatype]
    if len(raw) != count * dtype.itemsize:
        raise bad(
            f"{where}: {datatype} of shape {list(shape)} takes {count * dtype.itemsize} bytes but "
            f"binary_data_size is {len(raw)}.",
            where,
        )
    return finite(np.frombuffer(raw, dtype).reshape(shape), where)


def _split_elements(raw: memoryview, count: int, where: str) -> list[str | bytes]:
    """BYTES elements, each behind its length in 4 bytes, little-endian."""
    elements: list[str | bytes] = []
    at, end = 0, len(raw)
    while at < end and len(elements) < count:
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if start > end or at > end:
            raise bad(f"{where}: element {len(elements)} runs past the end of its binary data.", where)
        elements.append(bytes(raw[start:at]))
    if len(elements) != count or at != end:
        raise bad(f"{where}: the binary data does not hold exactly {count} BYTES elements.", where)
    return elements


def from_json(value: object, datatype: str, shape: tuple[int, ...], where: str) -> Values:
    """`data`, flat in row-major order or nested as `shape`. Raises InvalidRequest."""
    if not isinstance(value, list):
        raise bad(f"{where}: data is not a list.", f"{where}.data")
    leaves = _flatten(value, shape, where)
    if not set(map(type, leaves)) <= _JSON_TYPES[datatype]:
        raise bad(f"{where}: data holds values that are not {datatype}.", f"{where}.data")
    if datatype == "BYTES":
        return leaves
    try:
        with np.errstate(over="ignore"):
            array = np.array(leaves, NUMERIC[datatype]).reshape(shape)
    except OverflowError:
        raise bad(f"{where}: data holds numbers beyond the range of {datatype}.", f"{where}.data") from None
    return finite(array, where)


def _flatten(value: list[Any], shape: tuple[int, ...], where: str) -> list[Any]:
    if len(value) == math.prod(shape) and list not in set(map(type, value)):
        return value
    parts: list[Any] = [value]
    for size in shape:
        wrong = [part for part in parts if not isinstance(part, list) or len(part) != size]
        if wrong:
            got = f"{len(wrong[0])} elements" if isinstance(wrong[0], list) else "a single value"
            raise bad(
                f"{where}: expected data of shape {list(shape)}, got {got} where {size} elements belong.",
                f"{where}.data",
            )
        parts = list(chain.from_iterable(parts))
    return parts


def finite(array: NDArray[Any], where: str) -> NDArray[Any]:
    """`array`, if every number in it is finite. Raises InvalidRequest naming the first row that is not."""
    if array.dtype.kind == "f":
        good = np.isfinite(array)
        if not good.all():
            row = int(np.argwhere(~good)[0][0])
            raise bad(f"{where}: row {row} holds NaN or infinity.", where)
    return array


def to_bytes(tensor: Tensor) -> bytes:
    """A tensor's raw bytes."""
    if not isinstance(tensor.data, list):
        return tensor.data.astype(NUMERIC[tensor.datatype], copy=False).tobytes()
    parts = []
    for value in tensor.data:
        element = value.encode() if isinstance(value, str) else value
        parts += [len(element).to_bytes(4, "little"), element]
    return b"".join(parts)
