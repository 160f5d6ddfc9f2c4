"""LogME: the logarithm of maximum evidence (You, Liu, Wang and Long, ICML 2021, arXiv:2102.11005).

A linear model y = X w + e with w ~ N(0, I / a) and e ~ N(0, I / b) has the evidence p(y | X, a, b); its
maximum over a and b says how well X explains y with no example held out, and more dimensions alone do not
raise it. Here the intercept is free, which costs one degree of freedom.
"""

from __future__ import annotations

import numpy as np

from training.spectrum import Spectrum

RATIOS = 10.0 ** np.arange(-6, 6.01, 0.1)  # a / b, for features of unit mean square norm


def logme(spectrum: Spectrum) -> float:
    """Maximum log evidence less that of the mean alone, a degree of freedom; mean over the targets [K].

    0: the features say nothing of the targets; greater is better. What is subtracted depends on the
    targets alone, so the order of features is the paper's. `spectrum` is of centred rows of unit mean
    square norm; classes are one-hot targets. For a given a / b the best b has a closed form; a / b comes
    from a fine grid, which finds the maximum where the paper's iteration can stop short of it.
    """
    degrees = len(spectrum.left) - 1
    share = spectrum.projected**2  # [r, K]
    total = ((spectrum.targets - spectrum.mean) ** 2).sum(axis=0)
    varies = total > 0
    if not varies.any():
        return 0.0
    share = share[:, varies] / total[varies]
    rest = np.maximum(1 - share.sum(axis=0), 0)
    stretch = 1 + spectrum.power / RATIOS[:, None]  # [ratios, r]
    misfit = np.maximum((1 / stretch) @ share + rest, np.finfo(np.float64).tiny)  # [ratios, K]
    gain = -0.5 * degrees * np.log(misfit) - 0.5 * np.log(stretch).sum(axis=1)[:, None]
    return float(np.maximum(gain.max(axis=0), 0).mean() / degrees)
