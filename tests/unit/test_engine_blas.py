"""The service computes with as many threads as it has lanes, and no more."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from app.engine.blas import use_one_thread


def test_numpys_library_uses_one_thread() -> None:
    libraries = list((Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*"))
    if not libraries:
        pytest.skip("numpy has another library here")
    library = ctypes.CDLL(str(libraries[0]))
    before = library.scipy_openblas_get_num_threads64_()
    library.scipy_openblas_set_num_threads64_(2)
    try:
        assert use_one_thread()
        assert library.scipy_openblas_get_num_threads64_() == 1
    finally:
        library.scipy_openblas_set_num_threads64_(before)
