"""Importance-weighted least squares with an L2 penalty, and its weighted leave-one-out error.

W = argmin sum_i w_i |y_i - W z_i - b|^2 + lambda |W|^2 with a free intercept (Shimodaira 2000). Row i left
out errs by e_i / (1 - h_ii), h the diagonal of the weighted hat matrix; the penalty is the one of least
sum_i w_i of those squares, which is importance-weighted cross-validation (Sugiyama, Krauledat, Mueller
2007): an estimate of the error on the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-6, 4))
_RANK = 1e-12


@dataclass(frozen=True, eq=False)
class WeightedRidge:
    """Rows centred at their weighted mean and scaled by the roots of their weights, by singular triplets.

    `centre` [D] and `mean` [K] are the weighted means of features and targets.
    """

    centre: Array
    mean: Array
    weights: Array  # [n], of sum one
    left: Array  # [n, r]
    size: Array  # [r], singular values
    axes: Array  # [r, D]
    targets: Array  # [n, K], centred and scaled as the rows are

    @classmethod
    def of(cls, X: Array, targets: Array, weights: Array) -> WeightedRidge:
        """Rows `X` [n, D] with values [n, K] and weights [n], at least one above zero."""
        share = weights / weights.sum()
        root = np.sqrt(share)[:, None]
        centre, mean = share @ X, share @ targets
        left, size, axes = np.linalg.svd(root * (X - centre), full_matrices=False)
        kept = size > max(size[0] * _RANK, np.finfo(np.float64).tiny)
        return cls(centre, mean, share, left[:, kept], size[kept], axes[kept], root * (targets - mean))

    def solve(self, penalty: float) -> tuple[Array, Array]:
        """Weight [K, D] and intercept [K]."""
        gain = self.size / (self.size**2 + penalty)
        weight = ((self.targets.T @ self.left) * gain) @ self.axes
        return weight, self.mean - weight @ self.centre

    def left_out_error(self, penalty: float) -> float:
        """Weighted mean of the squared leave-one-out residuals."""
        shrink = self.size**2 / (self.size**2 + penalty)
        residual = self.targets - (self.left * shrink) @ (self.left.T @ self.targets)
        leverage = self.weights + (self.left**2) @ shrink
        return float(((residual / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2).sum())

    def best_penalty(self) -> float:
        """The penalty of least weighted leave-one-out error; the stronger of equals."""
        return min(PENALTIES, key=lambda penalty: (self.left_out_error(penalty), -penalty))
