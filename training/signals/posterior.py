"""Linear regression whose coefficients have a known spread; its noise and scale by evidence.

y = Phi c + noise, with c_j ~ N(centre_j, s^2 spread_j^2) and noise of variance s^2 rho. For each rho of a
grid the fit is closed form, and so is its evidence; the mean of the fits, weighted by their evidence, is
the answer. It is linear in y for fixed weights, so leaving a row out needs no refit (MacKay 1992;
Rasmussen and Williams 2006, section 5.4, the integral over rho done on the grid instead of at its maximum).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.signals.bases import Basis

Array = NDArray[np.float64]
_RATIOS = 10.0 ** np.arange(-10, 2.01, 0.5)
_RANK = 1e-13
_FIRMNESS = 2.0  # of the prior on the noise, where something is known of it


@dataclass(frozen=True, eq=False)
class Posterior:
    """`coefficients` [M]; `left_out` [n], what each row is predicted without itself.

    `noise` is the standard deviation of the values around the curve.
    """

    coefficients: Array
    left_out: Array
    log_evidence: float
    noise: float


def solve(basis: Basis, x: NDArray[np.floating], y: Array, noise: float | None = None) -> Posterior:
    """For values `y` [n] at `x` [n, d]; `noise` is their standard deviation around the curve, if known."""
    design = basis.design(x)
    known = design @ basis.centre
    if not basis.absolute:
        known = known + y.mean()  # as if the constant, of which nothing is known, had been fitted first
    scaled = design * basis.spread
    system = _System.of(scaled, y - known, basis.absolute, noise)
    logs, duals, leverages, variances = system.on_grid()
    if noise is None:
        logs = logs + _expected(variances, basis.noise)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    dual, leverage = weights @ duals, weights @ leverages
    coefficients = basis.centre + basis.spread * (scaled.T @ dual)
    if not basis.absolute:
        coefficients[0] += y.mean()
    residual = y - design @ coefficients
    left_out = y - residual / np.maximum(1 - leverage, 1e-9)
    evidence = float(logs.max() + np.log(np.exp(logs - logs.max()).mean()))
    return Posterior(coefficients, left_out, evidence, float(np.sqrt(weights @ variances)))


def _expected(variances: Array, noise: float | None) -> Array:
    """Log prior of noise variances: around what is expected, with tails that any evidence outweighs."""
    if not noise:
        return np.zeros_like(variances)
    return np.asarray(-_FIRMNESS * np.log1p(np.log(variances / noise**2) ** 2))


@dataclass(frozen=True, eq=False)
class _System:
    """Psi Psi^T = U diag(power) U^T with `left` U [n, r], and what is left of the values outside its span."""

    power: Array
    left: Array
    values: Array
    absolute: bool
    noise: float | None

    @classmethod
    def of(cls, scaled: Array, values: Array, absolute: bool, noise: float | None) -> _System:
        left, singular, _ = np.linalg.svd(scaled, full_matrices=False)
        keep = singular**2 > _RANK * max(float(singular[:1].sum()) ** 2, np.finfo(float).tiny)
        return cls(singular[keep] ** 2, left[:, keep], values, absolute, noise)

    def on_grid(self) -> tuple[Array, Array, Array, Array]:
        """Of each rho: log evidence [g], (Psi Psi^T + rho)^-1 y and leverages [g, n], noise variance [g]."""
        rho = self._grid()[:, None]
        n, inside = len(self.values), self.left.T @ self.values
        outside = self.values - self.left @ inside
        duals = (inside / (self.power + rho)) @ self.left.T + outside / rho
        leverages = (self.power / (self.power + rho)) @ (self.left**2).T
        quadratic = np.maximum(duals @ self.values, np.finfo(float).tiny)
        volume = np.log(self.power + rho).sum(axis=1) + (n - len(self.power)) * np.log(rho[:, 0])
        scale = self._scale(rho[:, 0], quadratic / n)
        logs = -0.5 * (n * np.log(scale) + volume + quadratic / scale)
        return logs, duals, leverages, scale * rho[:, 0]

    def _grid(self) -> Array:
        if not self.absolute:
            return _RATIOS
        if self.noise is not None:
            return np.array([self.noise**2])
        return np.asarray(_RATIOS * max(float(self.power.sum()) / len(self.values), 1e-30))

    def _scale(self, rho: Array, profiled: Array) -> Array:
        """s^2: 1 where spreads are absolute, what the noise says where it is known, or else its best."""
        if self.absolute:
            return np.ones_like(rho)
        return profiled if self.noise is None else self.noise**2 / rho
