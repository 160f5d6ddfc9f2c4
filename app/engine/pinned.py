"""Page-locked memory for what goes to a GPU: copied from there it takes one pass, from other memory two."""

from __future__ import annotations

import ctypes
import logging
import math
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.modalities.base import Empty

Bytes = NDArray[np.uint8]
Allocate = Callable[[int], Bytes]

_LEAST = 1 << 16
_PORTABLE = 1  # cudaHostAllocPortable: page-locked for every context
log = logging.getLogger(__name__)


class Pinned:
    """Buffers that runs borrow, one set each, and give back: as many as there are runs at a time, each as
    large as was ever asked for, by powers of two. Thread-safe."""

    def __init__(self, allocate: Allocate) -> None:
        self._allocate = allocate
        self._free: deque[list[Bytes]] = deque()

    @contextmanager
    def lent(self) -> Iterator[Empty]:
        """An `Empty` whose arrays hold until the end of the block."""
        try:
            buffers = self._free.pop()
        except IndexError:
            buffers = []
        taken = 0

        def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
            nonlocal taken
            nbytes = math.prod(shape) * np.dtype(dtype).itemsize
            taken += 1
            if len(buffers) < taken:
                buffers.append(self._allocate(_rounded(nbytes)))
            elif len(buffers[taken - 1]) < nbytes:
                buffers[taken - 1] = self._allocate(_rounded(nbytes))
            return buffers[taken - 1][:nbytes].view(dtype).reshape(shape)

        try:
            yield empty
        finally:
            self._free.append(buffers)


def _rounded(nbytes: int) -> int:
    return max(_LEAST, 1 << max(0, nbytes - 1).bit_length())


def page_locked() -> Allocate:
    """Allocates page-locked memory by the CUDA runtime that this process has loaded; ordinary memory, which
    is right but slower, where there is none or no more is given."""
    runtime = _runtime()

    def allocate(nbytes: int) -> Bytes:
        place = ctypes.c_void_p()
        if runtime is None or runtime.cudaHostAlloc(ctypes.byref(place), ctypes.c_size_t(nbytes), _PORTABLE):
            return np.empty(nbytes, np.uint8)
        memory = (ctypes.c_uint8 * nbytes).from_address(place.value or 0)
        free = weakref.finalize(memory, runtime.cudaFreeHost, place)  # an array keeps what it is a view of
        free.atexit = False  # by then the runtime may be gone
        return np.ctypeslib.as_array(memory)

    return allocate


def _runtime() -> ctypes.CDLL | None:
    """Whatever version ONNX Runtime's provider was linked to, which is in memory with it."""
    try:
        mapped = Path("/proc/self/maps").read_text().split()
        path = next(word for word in mapped if "/libcudart.so" in word)
        return ctypes.CDLL(path)
    except (OSError, StopIteration):
        log.warning("the CUDA runtime is not found in memory: inputs go to the GPU from ordinary memory")
        return None
