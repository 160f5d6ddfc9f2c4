"""Random grounds for pictures, so that what they show is learnt and not what lies behind it.

Domain randomisation (Tobin et al. 2017): where the look varies enough, the real world is one more variation.
Nothing is taken from any collection: a texture is coloured noise whose spectrum falls as natural ones do,
or the blots of such noise. Pure functions of pictures [H, W, 3] in [0, 1] and a seeded generator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Generator = np.random.Generator
_STEEPEST = 2.5  # of the spectrum 1 / f^a: 0 is white noise, natural pictures have about 1
_BLOTS = 0.3  # how often a texture has two tones only
_DIFFERENCE, _MIXTURE = 0.6, 0.2  # how often; otherwise the sum


def texture(height: int, width: int, rng: Generator) -> Array:
    """[H, W, 3] in [0, 1]: noise around a random colour, its channels more or less alike."""
    noise = _coloured(rng.standard_normal((4, height, width)), rng.uniform(0, _STEEPEST))
    grey = rng.random()
    tones = np.sqrt(1 - grey) * noise[:3] + np.sqrt(grey) * noise[3]
    if rng.random() < _BLOTS:
        tones = np.where(tones > 0.5 * rng.standard_normal(), 1.0, -1.0)
    colour = 0.5 * (rng.random(3) + rng.random())
    return np.asarray(np.clip(colour + rng.uniform(0.02, 0.3) * tones.transpose(1, 2, 0), 0, 1))


def _coloured(white: Array, steepness: float) -> Array:
    """White noise [n, H, W] with a spectrum that falls as 1 / f^steepness, of unit variance."""
    height, width = white.shape[1:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / max(height, width)
    found = np.fft.irfft2(np.fft.rfft2(white) * frequency**-steepness, s=(height, width))
    return np.asarray(found / np.maximum(found.std(axis=(1, 2), keepdims=True), 1e-9))


def on_texture(x: Array, rng: Generator) -> Array:
    """The picture's difference to a texture, its mixture with one, or their sum."""
    height, width, _ = x.shape
    behind, way = texture(height, width, rng), rng.random()
    if way < _DIFFERENCE:
        return np.abs(behind - rng.uniform(0.7, 1) * x)
    if way < _DIFFERENCE + _MIXTURE:
        share = rng.uniform(0.3, 0.8)
        return np.asarray(share * x + (1 - share) * behind)
    return np.clip(x + 0.7 * behind, 0, 1)
