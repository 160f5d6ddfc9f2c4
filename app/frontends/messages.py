"""What frames say: arrays, errors, and what a front-end asks of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engine.model import Prediction
from app.frontends.frames import Header
from models import errors
from models.errors import DurianError

Arrays = Mapping[str, NDArray[Any]]
AWAY = "engine_away"


def away() -> errors.Unavailable:
    """What a request is answered with that the engine cannot answer, or no longer can."""
    return errors.Unavailable("The engine is being started; try again in a moment.", code=AWAY)


def error_header(error: DurianError) -> Header:
    """An error of the engine's process."""
    return {"error": [type(error).__name__, error.message, error.code, error.param]}


def error_of(header: Header) -> DurianError | None:
    """The error that a reply carries, if it does: of the same class, with the same words."""
    if "error" not in header:
        return None
    name, message, code, param = header["error"]
    kind: type[DurianError] = getattr(errors, name, DurianError)
    return kind(message, code=code, param=param)


def arrays_header(arrays: Arrays) -> tuple[Header, list[bytes]]:
    """Arrays as they are in memory: names, types and shapes in the header, their bytes in the payload."""
    told = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    return {"arrays": told}, [array.tobytes() for array in arrays.values()]


def arrays_of(header: Header, payload: bytes) -> dict[str, NDArray[Any]]:
    """The inverse: read-only views of the payload."""
    found, start = {}, 0
    for name, dtype, shape in header["arrays"]:
        count = prod(shape)
        found[name] = np.frombuffer(payload, dtype, count, start).reshape(shape)
        start += found[name].nbytes
    return found


def prediction_arrays(prediction: Prediction) -> Arrays:
    """The parts of a prediction that are there."""
    return {name: array for name, array in vars(prediction).items() if array is not None}


def sizes(contents: Sequence[bytes]) -> list[int]:
    """The header's note of where one content ends and the next begins."""
    return [len(content) for content in contents]


def contents_of(header: Header, payload: bytes) -> list[bytes]:
    """The contents that lie one after the other in the payload."""
    return list(_cut(header["sizes"], payload))


def _cut(lengths: Sequence[int], payload: bytes) -> Iterator[bytes]:
    for start, end in pairwise(accumulate(lengths, initial=0)):
        yield payload[start:end]
