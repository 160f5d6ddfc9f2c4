"""Take the noise out of curves on an even grid, as much as each curve asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ORDER = 3
_LEAST = 16  # points below which nothing is smoothed
_MOST = 1000  # and above which the eigenvectors would cost too much
_PENALTIES = 10.0 ** np.arange(-3, 12.1, 0.5)


def smoothed(curves: Array) -> Array:
    """Each row of `curves` [m, G] through the Whittaker smoother whose penalty suits it.

    argmin |y - z|^2 + lambda |D z|^2 with D the third differences (Whittaker 1923; Eilers 2003), lambda by
    generalised cross-validation (Craven and Wahba 1979); none, where that is least. Rows of fewer than 16
    points or more than 1000 stay as they are.
    """
    points = curves.shape[1]
    if not _LEAST <= points <= _MOST:
        return curves
    differences = np.diff(np.eye(points), _ORDER, axis=0)
    rough, waves = np.linalg.eigh(differences.T @ differences)
    lost = _PENALTIES[:, None] * np.maximum(rough, 0)
    lost = lost / (1 + lost)  # [penalties, G]: the share of each wave that a penalty takes away
    inside = curves @ waves
    left = (inside**2) @ (lost**2).T / (lost.sum(axis=1) / points) ** 2
    return np.asarray((inside * (1 - lost[left.argmin(axis=1)])) @ waves.T)
