"""A toy simulator of spectra with two peaks, of which the second grows with the label."""

from __future__ import annotations

import numpy as np


def simulated(n: int, seed: int, points: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Signals [n, points] and labels [n, 1] from 0.5 to 2; the peaks' common width varies by itself."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(0.5, 2, (n, 1))
    width = rng.uniform(0.045, 0.055, (n, 1))
    at = np.linspace(0, 1, points)
    first = np.exp(-0.5 * ((at - 0.35) / width) ** 2)
    second = np.exp(-0.5 * ((at - 0.6) / width) ** 2)
    return first + y * second, y
