"""Make `digits.zip` from the scans that scikit-learn ships: `python examples/make_digits.py [folder]`.

Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI, 1998, doi 10.24432/C50P49.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

LEVELS = 16
"""Brightest value of the original scans, which count ink pixels in 4x4 blocks."""


def png(scan: NDArray[np.float64]) -> bytes:
    """A scan of values 0..16 as an 8-bit grey PNG. Stored, so the bytes do not depend on the zlib."""
    grey = np.round(scan * 255 / LEVELS).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def digits_zip() -> bytes:
    """All 1,797 scans as `label/NNNN.png`, NNNN the row in scikit-learn's order."""
    digits = load_digits()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for row, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            # A ZipInfo made by hand carries a fixed date (1980), not the clock's.
            archive.writestr(zipfile.ZipInfo(f"{label}/{row:04d}.png"), png(scan))
    return buffer.getvalue()


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "digits.zip").write_bytes(digits_zip())
