"""The frame in which heads are fitted: features centred, rotated onto their axes, and of one scale.

Penalised linear models are indifferent to rotation, and with an unpenalised intercept to translation,
so the change of frame is exact. What it buys: with fewer examples than dimensions only the span of the
examples is left (the solution lies in it, by the representer theorem), along principal axes a diagonal
preconditioner is nearly Newton's step, and hyperparameters mean the same on every backbone. The parts of
a joined tap are first brought to one scale, so that none drowns the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_ROTATED = 2000  # above, the eigendecomposition costs more than it saves
_RANK = 1e-10  # of the largest eigenvalue


@dataclass(frozen=True, eq=False)
class Frame:
    """z = ((x - mean) / scale) @ axes; `axes` [D, r] is orthonormal, None where nothing is rotated.

    `scale` is one number, or [D] where the features come in parts.
    """

    mean: NDArray[np.float64]
    scale: float | NDArray[np.float64]
    axes: NDArray[np.float64] | None

    @classmethod
    def of(cls, X: NDArray[Any], widths: Sequence[int] = ()) -> Frame:
        """The frame of the rows of `X` [n, D]: there their mean is 0, and the mean of |z|^2 is 1.

        With `widths`, which add up to D, each part has the same share of that 1.
        """
        mean = X.mean(axis=0, dtype=np.float64)
        centred = X - mean
        if len(widths) < 2:
            return cls(mean, _spread(centred), _principal_axes(centred))
        ends = np.cumsum(widths)[:-1]
        spreads = [_spread(part) for part in np.split(centred, ends, axis=1)]
        scale = np.repeat(np.multiply(spreads, np.sqrt(len(widths))), widths)
        return cls(mean, scale, _principal_axes(centred / scale))

    def enter(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Features -> coordinates in this frame, float32 [n, r]."""
        centred = (X - self.mean) / self.scale
        return np.asarray(centred if self.axes is None else centred @ self.axes, np.float32)

    def lift(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Directions [m, r] of this frame -> directions [m, D] of the features, lengths kept."""
        rows = np.asarray(vectors, np.float64)
        return rows if self.axes is None else rows @ self.axes.T


def _spread(centred: NDArray[np.float64]) -> float:
    """The root of the mean of |x|^2; 1 where all rows are alike."""
    return float(np.sqrt(np.einsum("ij,ij->", centred, centred) / len(centred))) or 1.0


def _principal_axes(centred: NDArray[np.float64]) -> NDArray[np.float64] | None:
    n, dim = centred.shape
    if min(n, dim) > _MAX_ROTATED:
        return None
    if n < dim:
        power, left = np.linalg.eigh(centred @ centred.T)
        keep = power > max(power[-1] * _RANK, np.finfo(np.float64).tiny)
        axes = centred.T @ (left[:, keep] / np.sqrt(power[keep]))
    else:
        power, right = np.linalg.eigh(centred.T @ centred)
        axes = right[:, power > power[-1] * _RANK]
    return axes[:, ::-1] if axes.shape[1] else None
