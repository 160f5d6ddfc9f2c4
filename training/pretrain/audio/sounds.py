"""Sounds that are not speech, by formula: a class is a family and its parameters; clips vary around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.pretrain.audio.espeak import RATE, Wave, trim

Array = NDArray[np.float64]
Maker = Callable[[np.random.Generator, np.random.Generator, Array], Array]
PER_FAMILY = 12


def sound(kind: int, number: int, seed: int) -> Wave:
    """Clip `number` of class `kind` (below `CLASSES`): 0.25 to 1.2 s at 16 kHz, peak 0.9."""
    family = FAMILIES[kind % len(FAMILIES)]
    of_class = np.random.default_rng([seed, 1, kind])
    of_clip = np.random.default_rng([seed, 2, kind, number])
    t = np.arange(round(RATE * of_clip.uniform(0.25, 1.2))) / RATE
    wave = family(of_class, of_clip, t) + 1e-4 * of_clip.standard_normal(len(t))
    return trim((wave / np.abs(wave).max()).astype(np.float32))


def near(centre: float, rng: np.random.Generator, spread: float = 0.06) -> float:
    """A value about `centre`, log-normal."""
    return float(centre * np.exp(spread * rng.standard_normal()))


def chirp(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """A glide from one frequency to another, logarithmic in time."""
    start, stop = (near(f, clip) for f in np.exp(kind.uniform(np.log(150), np.log(4500), 2)))
    frequency = start * (stop / start) ** (t / t[-1])
    return np.sin(_phase(frequency)) * _fade(t)


def harmonics(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """A steady tone with its own timbre: weights of its first twelve harmonics."""
    pitch = near(_pitch(kind, 80, 900), clip)
    weights = kind.dirichlet(np.full(12, 0.6))
    vibrato = 1 + 0.01 * np.sin(2 * np.pi * clip.uniform(4, 7) * t)
    phase = _phase(pitch * vibrato)
    return _sum(w * np.sin(k * phase) for k, w in enumerate(weights, 1) if k * pitch < 7000) * _decay(kind, t)


def modulated(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """Frequency modulation: a carrier, a ratio and an index."""
    carrier = near(_pitch(kind, 200, 2500), clip)
    rate = carrier * kind.choice([0.01, 0.05, 0.5, 1.0, 1.414, 2.0, 3.5])
    index = near(kind.uniform(0.5, 8), clip)
    phase = 2 * np.pi * carrier * t + index * np.sin(2 * np.pi * rate * t)
    return np.asarray(np.sin(phase) * _decay(kind, t))


def noise(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """Noise through one band or two, perhaps fluttering."""
    bands = [(_pitch(kind, 200, 6000), kind.uniform(0.05, 0.6)) for _ in range(2)]
    white = np.fft.rfft(clip.standard_normal(len(t)))
    frequency = np.maximum(np.fft.rfftfreq(len(t), 1 / RATE), 1)
    gain = _sum(np.exp(-0.5 * (np.log(frequency / near(f, clip)) / width) ** 2) for f, width in bands)
    flutter = 1 + kind.choice([0, 0, 1]) * np.sin(2 * np.pi * near(kind.uniform(3, 30), clip) * t)
    return np.asarray(np.fft.irfft(white * gain, len(t)) * flutter * _decay(kind, t))


def clicks(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """A train of ringing clicks at a steady rate."""
    rate, ring = (
        near(kind.uniform(3, 40), clip),
        near(_pitch(kind, 300, 5000), clip),
    )
    since = (t + clip.uniform(0, 1 / rate)) % (1 / rate)
    return np.exp(-since * kind.uniform(60, 600)) * np.sin(2 * np.pi * ring * since)


def rhythm(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """A bar of eight steps: on each a high hit, a low hit, a noise, or nothing."""
    steps, tempo = kind.integers(0, 4, 8), near(kind.uniform(8, 14), clip)
    place = t * tempo
    since, step = (place % 1) / tempo, steps[place.astype(int) % 8]
    hit = np.exp(-since * 40)
    low, high = (near(f, clip) for f in (kind.uniform(80, 200), kind.uniform(500, 3000)))
    parts = (
        np.sin(2 * np.pi * low * since),
        np.sin(2 * np.pi * high * since),
        clip.standard_normal(len(t)) / 3,
    )
    return _sum((step == i) * part for i, part in enumerate(parts)) * hit


def melody(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """Four notes, in any key: the intervals are the class."""
    key = clip.uniform(150, 600)
    notes = key * 2 ** (kind.integers(-7, 13, 4) / 12)
    place = np.minimum((4 * t / t[-1]).astype(int), 3)
    phase = _phase(notes[place])
    return np.sin(phase) + kind.uniform(0, 0.7) * np.sin(2 * phase) + kind.uniform(0, 0.5) * np.sin(3 * phase)


def sweep(kind: np.random.Generator, clip: np.random.Generator, t: Array) -> Array:
    """A siren: the frequency swings around a centre."""
    centre = near(_pitch(kind, 300, 2500), clip)
    depth, rate = kind.uniform(0.1, 0.8), near(kind.uniform(1.5, 12), clip)
    swing = 2 * np.pi * rate * t + clip.uniform(0, 2 * np.pi)
    return np.sin(_phase(centre * 2 ** (depth * np.sin(swing)))) * _fade(t)


FAMILIES: tuple[Maker, ...] = (chirp, harmonics, modulated, noise, clicks, rhythm, melody, sweep)
CLASSES = PER_FAMILY * len(FAMILIES)


def _pitch(rng: np.random.Generator, low: float, high: float) -> float:
    """A frequency between two others, even on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _phase(frequency: Array | float) -> Array:
    return np.asarray(2 * np.pi * np.cumsum(frequency) / RATE)


def _fade(t: Array) -> Array:
    return np.asarray(np.minimum(1, np.minimum(t, t[-1] - t) / 0.02))


def _decay(kind: np.random.Generator, t: Array) -> Array:
    return np.asarray(np.exp(-t * kind.choice([0.0, 2.0, 8.0]))) * _fade(t)


def _sum(parts: object) -> Array:
    return np.asarray(sum(parts))  # type: ignore[call-overload]
