"""Sixteen representations of scikit-learn's scanned digits, from good ones to poor ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

Array = NDArray[Any]


def digits() -> tuple[dict[str, Array], Array]:
    """Each representation [1797, D] by name, and the digits [1797]."""
    found = load_digits()
    pictures = found.images / 16
    X = pictures.reshape(len(pictures), -1)
    return _projections(X) | _summaries(pictures) | _changed(pictures), found.target


def _projections(X: Array) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    centred = X - X.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    principal = {f"{k} principal components": centred @ axes[:k].T for k in (2, 5, 10, 20)}
    random = {f"{k} random projections": X @ rng.normal(size=(64, k)) for k in (4, 16)}
    rectified = np.maximum(X @ rng.normal(size=(64, 256)) + rng.normal(size=256), 0)
    return principal | random | {"256 rectified random projections": rectified}


def _summaries(pictures: Array) -> dict[str, Array]:
    rows, columns = pictures.sum(axis=2), pictures.sum(axis=1)
    levels = np.floor(pictures * 15.99).reshape(len(pictures), -1)
    return {
        "sums of rows": rows,
        "sums of columns": columns,
        "sums of rows and columns": np.hstack([rows, columns]),
        "histogram of grey levels": np.stack([(levels == level).sum(axis=1) for level in range(16)], axis=1),
        "means of 2 x 2 pixels": _flat(pictures.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))),
    }


def _changed(pictures: Array) -> dict[str, Array]:
    return {
        "pixels": _flat(pictures),
        "black or white": _flat(pictures > 0.5),
        "blurred": _flat(gaussian_filter(pictures, (0, 1.5, 1.5))),
        "differences of neighbours": np.hstack([_flat(np.diff(pictures, axis=axis)) for axis in (1, 2)]),
    }


def _flat(pictures: Array) -> Array:
    return pictures.reshape(len(pictures), -1).astype(np.float64)
