"""Examples varied as new ones will vary: pictures moved and lit, sounds at another speed and with others
behind them, signals as another instrument gives them; texts never.

Pure functions of prepared inputs and a seeded generator, in the manner of RandAugment (Cubuk et al. 2020):
one word, the level, sets all strengths; `randomise` goes beyond what is likely, and lays pictures on random
grounds (domain randomisation, Tobin et al. 2017). Amounts are relative to each input's own spread, so that
nothing is learnt from the other examples; only what is mixed in comes from them, and then from the same fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import ModalityName
from models.modalities.base import Prepared
from training.deep.settings import Augment
from training.deep.textures import on_texture
from training.signals.augment import Strengths, augment

Array = NDArray[np.float64]
Generator = np.random.Generator
_MOST, _COPIES = 4000, 4  # rows with all copies; copies of each


def copies_of(examples: int, level: Augment, modality: ModalityName) -> int:
    """How many varied copies of each example are worth the time."""
    if level == "none" or modality not in _VARY:
        return 0
    return min(_COPIES, max(1, _MOST // max(1, examples) - 1))


def vary(
    modality: ModalityName,
    prepared: Sequence[Prepared],
    level: Augment,
    fold: NDArray[np.int64],
    rng: Generator,
) -> list[Prepared]:
    """Each input once more, varied; what one is mixed with is of the same `fold` [n]."""
    return _VARY[modality](prepared, level, fold, rng)


@dataclass(frozen=True)
class Picture:
    """`move` is the greatest shift and zoom, a share of the side; `light` and `colour` of the contrast, the
    brightness and each channel; `noise` a standard deviation; of the picture's range. `mirror` is how often
    left and right are exchanged, `ground` how often the picture is laid on a random texture, `negative` how
    often it is inverted."""

    move: float
    light: float
    colour: float
    noise: float
    mirror: float = 0.0
    ground: float = 0.0
    negative: float = 0.0


@dataclass(frozen=True)
class Sound:
    """`speed` is the greatest change of speed; `gain` its standard deviation in dB; `noise` and `other` are
    the loudness of white noise and of another example behind it, over the example's own."""

    speed: float
    gain: float
    noise: float
    other: float


PICTURES = {
    "light": Picture(0.08, 0.1, 0.05, 0.02),
    "strong": Picture(0.2, 0.3, 0.15, 0.05, mirror=0.5),
    "randomise": Picture(0.08, 0.1, 0.05, 0.02, ground=0.85, negative=0.5),
}
SOUNDS = {
    "light": Sound(0.05, 2.0, 0.03, 0.0),
    "strong": Sound(0.15, 5.0, 0.1, 0.2),
    "randomise": Sound(0.25, 10.0, 0.5, 0.7),
}
SIGNALS = {
    "light": Strengths(noise=0.03, drift=0.05, shift=0.005),
    "strong": Strengths(noise=0.1, drift=0.15, shift=0.02, broadening=0.01, gain=0.1, offset=0.1),
    "randomise": Strengths(noise=0.25, drift=0.4, shift=0.05, broadening=0.03, gain=0.5, offset=0.5),
}


def picture(x: NDArray[Any], how: Picture, rng: Generator) -> NDArray[Any]:
    """[H, W, 3] or [3, H, W], of bytes or floats, varied; bytes stay bytes."""
    first = x.shape[0] == 3 and x.shape[2] != 3
    seen = np.asarray(x.transpose(1, 2, 0) if first else x, np.float64)
    span = 255.0 if x.dtype == np.uint8 else float(np.ptp(seen)) or 1.0
    seen = _moved(seen, how.move, rng)
    if rng.random() < how.mirror:
        seen = seen[:, ::-1]
    contrast, brightness = rng.uniform(-how.light, how.light, 2)
    middle = seen.mean()
    seen = (seen - middle) * (1 + contrast + rng.uniform(-how.colour, how.colour, 3)) + middle
    seen = seen + span * (brightness + how.noise * rng.standard_normal(seen.shape))
    if how.ground or how.negative:
        least = 0.0 if x.dtype == np.uint8 else float(x.min())
        seen = least + span * _elsewhere(np.clip((seen - least) / span, 0, 1), how, rng)
    if x.dtype == np.uint8:
        seen = np.clip(np.rint(seen), 0, 255)
    return np.ascontiguousarray(seen.transpose(2, 0, 1) if first else seen, x.dtype)


def _elsewhere(x: Array, how: Picture, rng: Generator) -> Array:
    """A picture in [0, 1] as another domain might show it."""
    if rng.random() < how.ground:
        x = on_texture(x, rng)
    return 1 - x if rng.random() < how.negative else x


def _moved(x: Array, amount: float, rng: Generator) -> Array:
    """A picture [H, W, 3] shifted and zoomed by at most `amount`; bilinear, and the edges are held."""
    zoom = 1 + rng.uniform(-amount, amount)
    for axis, shift in enumerate(rng.uniform(-amount, amount, 2)):
        length = x.shape[axis]
        middle = (length - 1) / 2
        at = np.clip(middle + zoom * (np.arange(length) - middle) + shift * length, 0, length - 1)
        low = np.minimum(at.astype(np.int64), max(length - 2, 0))
        share = np.expand_dims(at - low, tuple(other for other in range(3) if other != axis))
        above = np.minimum(low + 1, length - 1)
        x = np.take(x, low, axis) * (1 - share) + np.take(x, above, axis) * share
    return x


def sound(x: NDArray[Any], other: NDArray[Any], how: Sound, rng: Generator) -> NDArray[Any]:
    """Samples [n] varied, with the samples `other` [n] behind them."""
    seen = _faster(np.asarray(x, np.float64), 1 + rng.uniform(-how.speed, how.speed))
    loudness = float(np.sqrt((seen**2).mean()))
    behind = float(np.sqrt((np.asarray(other, np.float64) ** 2).mean())) or 1.0
    seen = seen + loudness * how.noise * rng.standard_normal(len(seen))
    seen = seen + loudness * how.other * rng.random() / behind * other
    return np.asarray(seen * 10 ** (how.gain * rng.standard_normal() / 20), x.dtype)


def _faster(x: Array, speed: float) -> Array:
    """Samples played at another speed, from the middle; before and after there is silence."""
    middle = (len(x) - 1) / 2
    at = middle + speed * (np.arange(len(x)) - middle)
    return np.asarray(np.interp(at, np.arange(len(x)), x, left=0.0, right=0.0))


def signal(x: NDArray[Any], how: Strengths, rng: Generator) -> NDArray[Any]:
    """One signal [points] as another instrument would give it; strengths are in its standard deviations."""
    mean, spread = float(x.mean()), float(x.std()) or 1.0
    return np.asarray(augment((x[None] - mean) / spread, how, rng)[0] * spread + mean, x.dtype)


def _pictures(prepared: Sequence[Prepared], level: Augment, _: Any, rng: Generator) -> list[Prepared]:
    return [picture(one, PICTURES[level], rng) for one in prepared]


def _sounds(
    prepared: Sequence[Prepared], level: Augment, fold: NDArray[np.int64], rng: Generator
) -> list[Prepared]:
    others = (prepared[int(rng.choice(np.flatnonzero(fold == own)))] for own in fold)
    return [sound(one, other, SOUNDS[level], rng) for one, other in zip(prepared, others, strict=True)]


def _signals(prepared: Sequence[Prepared], level: Augment, _: Any, rng: Generator) -> list[Prepared]:
    return [signal(one, SIGNALS[level], rng) for one in prepared]


_VARY: dict[ModalityName, Callable[..., list[Prepared]]] = {
    "image": _pictures,
    "audio": _sounds,
    "signal": _signals,
}
