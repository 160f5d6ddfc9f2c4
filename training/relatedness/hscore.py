"""H-score: how far apart class means lie in units of the features' spread (Bao et al., ICIP 2019).

H = tr(cov(f)^-1 cov(E[f | y])). With few examples cov(f) is shrunk towards a multiple of the identity by
Ledoit and Wolf's (2004) closed form, as Ibrahim, Ponomareva and Mazumder (2021, arXiv:2110.06893) propose.
"""

from __future__ import annotations

import numpy as np

from training.spectrum import Spectrum


def h_score(spectrum: Spectrum, dim: int) -> float:
    """The shrunk H-score of centred features [n, dim] with one-hot targets; greater is better, at most C - 1.

    Everything happens along the principal axes: those without variance hold no class mean either.
    """
    n = len(spectrum.left)
    variance = spectrum.power / n  # [r]
    counts = np.maximum(spectrum.targets.sum(axis=0), 1)  # [C]
    between = spectrum.power * (spectrum.projected**2 / counts).sum(axis=1) / n  # [r], of the class means
    shrinkage = ledoit_wolf(spectrum, dim)
    spread = (1 - shrinkage) * variance + shrinkage * variance.sum() / dim
    return float((1 - shrinkage) * (between / spread).sum())


def ledoit_wolf(spectrum: Spectrum, dim: int) -> float:
    """Ledoit and Wolf's shrinkage intensity, 0 to 1, of the covariance of centred rows [n, dim]."""
    n = len(spectrum.left)
    variance = spectrum.power / n
    square = float((variance**2).sum())
    distance = square - variance.sum() ** 2 / dim
    fourth = float((((spectrum.left**2) @ spectrum.power) ** 2).mean())  # mean of |x|^4
    noise = (fourth - square) / n
    return float(np.clip(noise / distance, 0, 1)) if distance > 0 else 1.0
