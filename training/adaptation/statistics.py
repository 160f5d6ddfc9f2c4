"""Second moments of a domain, regularised so that they can be inverted whatever the number of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_TINY, _RANK = 1e-12, 1e-10


def covariance(rows: Array, regularisation: float) -> Array:
    """[D, D] of rows [n, D], plus `regularisation` times the mean variance on the diagonal.

    One is what CORAL adds to features of unit variance (Sun, Feng, Saenko 2016, algorithm 1). With more
    dimensions than rows any amount above zero makes it of full rank.
    """
    centred = rows - rows.mean(axis=0)
    found = centred.T @ centred / len(rows)
    average = max(float(np.trace(found)) / len(found), _TINY)
    return np.asarray(found + regularisation * average * np.eye(len(found)))


def power(symmetric: Array, exponent: float) -> Array:
    """A power of a symmetric positive semidefinite matrix; of zero directions, zero."""
    values, vectors = np.linalg.eigh(symmetric)
    kept = values > max(values[-1] * _TINY, np.finfo(np.float64).tiny)
    return np.asarray((vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T)


def principal_axes(rows: Array, count: int) -> Array:
    """[D, r]: the first `count` principal axes of rows [n, D], fewer where there are fewer, orthonormal."""
    centred = rows - rows.mean(axis=0)
    few = len(rows) < rows.shape[1]
    values, vectors = np.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    kept = values > max(values[-1] * _RANK, np.finfo(np.float64).tiny)
    if not kept.any():
        return np.eye(rows.shape[1])[:, :1]
    axes = centred.T @ (vectors[:, kept] / np.sqrt(values[kept])) if few else vectors[:, kept]
    return np.asarray(axes[:, ::-1][:, :count])
