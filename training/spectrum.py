"""Regularised least squares by one eigendecomposition: every penalty, its leave-one-out, its evidence.

For a centred Gram matrix G = U diag(s) U^T of n rows (linear or of any kernel) and centred targets y, the
fit with penalty l is G a with a = (G + l I)^-1 y, its intercept free. Leaving row i out needs no refit:
its residual is e_i / (1 - h_ii), with h the diagonal of the hat matrix 1/n + U s / (s + l) U^T (Allen 1974,
PRESS; Rifkin and Lippert 2007). The same fit is the mean of a Gaussian process with covariance
v (G + l I), whose evidence has a closed form once v is at its best (MacKay 1992; Rasmussen and Williams
2006, equation 2.30).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-4, 4))
"""Candidates on features of unit mean square norm, or kernels of about that trace a row."""
_RANK = 1e-12


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A centred Gram matrix by its eigenvectors, and the targets: everything that any penalty needs."""

    mean: Array  # [K] of the targets
    left: Array  # [n, r]
    power: Array  # [r]
    projected: Array  # [r, K], left.T @ centred targets
    targets: Array  # [n, K]

    @classmethod
    def of_rows(cls, X: NDArray[Any], targets: Array) -> Spectrum:
        """Of centred rows `X` [n, D], by the smaller of X X^T and X^T X."""
        if len(X) < X.shape[1]:
            return cls.of_gram(X @ X.T, targets)
        power, axes = _eigen(X.T @ X)
        return cls._of(X @ (axes / np.sqrt(power)), power, targets)

    @classmethod
    def of_gram(cls, gram: Array, targets: Array) -> Spectrum:
        """Of a centred Gram matrix [n, n]."""
        power, left = _eigen(gram)
        return cls._of(left, power, targets)

    @classmethod
    def _of(cls, left: Array, power: Array, targets: Array) -> Spectrum:
        mean = targets.mean(axis=0)
        return cls(mean, left, power, left.T @ (targets - mean), targets)

    def leave_one_out(self, penalty: float) -> Array:
        """What the fit without row i predicts for row i, for every i: [n, K]."""
        shrink = self.power / (self.power + penalty)
        fitted = self.mean + (self.left * shrink) @ self.projected
        leverage = 1 / len(self.left) + (self.left**2) @ shrink
        return self.targets - (self.targets - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]

    def left_out_error(self, penalty: float) -> float:
        """Summed squared leave-one-out residuals."""
        return float(((self.leave_one_out(penalty) - self.targets) ** 2).sum())

    def surprise(self, penalty: float) -> float:
        """Minus twice the log evidence, up to a constant, each target's variance at its best."""
        n = len(self.left) - 1  # the free intercept costs one degree of freedom
        total = ((self.targets - self.mean) ** 2).sum(axis=0)
        rest = np.maximum(total - (self.projected**2).sum(axis=0), 0)
        spread = self.power + penalty
        variance = ((self.projected**2) / spread[:, None]).sum(axis=0) + rest / penalty
        volume = float(np.log(spread).sum()) + max(n - len(spread), 0) * np.log(penalty)
        tiny = np.finfo(np.float64).tiny
        return float((n * np.log(np.maximum(variance, tiny)) + volume).sum())

    def dual(self, penalty: float) -> Array:
        """The coefficients a [n, K], which sum to zero over the rows."""
        return self.left @ (self.projected / (self.power + penalty)[:, None])

    def best_penalty(self, penalties: Sequence[float] = PENALTIES) -> float:
        """The penalty of least squared leave-one-out error; the stronger of equals."""
        errors = self._left_out_errors(np.array(penalties)).tolist()
        return min(zip(errors, penalties, strict=True), key=lambda found: (found[0], -found[1]))[1]

    def _left_out_errors(self, penalties: Array) -> Array:
        """Summed squared leave-one-out residuals for each penalty [P], as `leave_one_out` tells them."""
        shrink = self.power / (self.power + penalties[:, None])
        fitted = self.left @ (shrink[:, :, None] * self.projected)
        leverage = 1 / len(self.left) + shrink @ (self.left**2).T
        rest = (self.targets - self.mean - fitted) / np.maximum(1 - leverage, 1e-9)[:, :, None]
        return np.asarray(np.einsum("pnk,pnk->p", rest, rest))

    def likeliest_penalty(self, penalties: Sequence[float] = PENALTIES) -> float:
        """The penalty of greatest evidence; the stronger of equals."""
        return min(penalties, key=lambda penalty: (self.surprise(penalty), -penalty))


def centred_gram(gram: Array) -> Array:
    """A kernel matrix as if its features had been centred."""
    rows = gram.mean(axis=0)
    return np.asarray(gram - rows - rows[:, None] + rows.mean())


def _eigen(matrix: Array) -> tuple[Array, Array]:
    power, vectors = np.linalg.eigh(matrix)
    keep = power > max(power[-1] * _RANK, np.finfo(np.float64).tiny)
    return power[keep], vectors[:, keep]
