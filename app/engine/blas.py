"""numpy's own threads: none. The lanes are the parallelism; a second crew only gets in their way.

On two busy cores a product of [32, 384] by [384, 50] took 1.7 ms with OpenBLAS's threads, which spin while
they wait for each other, and 0.26 ms without.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import numpy as np

_SET = "scipy_openblas_set_num_threads64_"


def use_one_thread() -> bool:
    """Tell the OpenBLAS that numpy's wheels bring along; False where numpy has another library."""
    libraries = Path(np.__file__).parent.parent / "numpy.libs"
    for path in libraries.glob("*openblas*"):
        with suppress(OSError, AttributeError):
            getattr(ctypes.CDLL(str(path)), _SET)(1)
            return True
    return False
