"""Periodic, transient and wandering series, and families of near-equals that must be told apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.pretrain.signal.made import PLACE, Array, Made, Nuisance, log_uniform, standardised

Process = Callable[[int, np.random.Generator], tuple[Array, dict[str, Array]]]
_SIBLINGS = 8


def series(n: int, rng: np.random.Generator) -> Made:
    """Signals of every process in turn. Known: what the process had, of the parameters that some share."""
    signals, names, kind = _turns(n, rng)
    nuisance = Nuisance(noise=(2e-3, 0.2), baseline=0.08, shift=0.03, warp=0.02, coarse=0.4)
    return Made(signals, names, nuisance, kind)


def siblings(n: int, rng: np.random.Generator) -> Made:
    """Groups of eight that share one series and differ in one local event each: a bump, a dip, a wiggle.

    Known: where the event is, and its signed height.
    """
    base, _, kind = _turns(-(-n // _SIBLINGS), rng)
    base, kind = np.repeat(base, _SIBLINGS, axis=0)[:n], np.repeat(kind, _SIBLINGS)[:n]
    at, height = rng.uniform(0.05, 0.95, n), rng.choice([-1, 1], n) * log_uniform(rng, 0.15, 1.5, n)
    event = _wavelet(at, log_uniform(rng, 0.015, 0.12, n), rng.uniform(0, 12, n) * (rng.random(n) < 0.4))
    known = {"event_at": at, "event_height": height}
    nuisance = Nuisance(noise=(2e-3, 0.08), baseline=0.05, shift=0.02, warp=0.015, coarse=0.3)
    return Made(standardised(base) + height[:, None] * event, known, nuisance, kind)


def _turns(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array], NDArray[np.int64]]:
    kind = (np.arange(n) + rng.integers(len(PROCESSES))) % len(PROCESSES)
    signals, known = np.zeros((n, len(PLACE))), dict[str, Array]()
    for number, process in enumerate(PROCESSES):
        rows = np.flatnonzero(kind == number)
        signals[rows], found = process(len(rows), rng)
        for name, values in found.items():
            known.setdefault(name, np.full(n, np.nan))[rows] = values
    return signals, known, kind


def sinusoids(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """A sinusoid and up to two weaker overtones."""
    cycles, phase = log_uniform(rng, 0.5, 40, n), rng.uniform(0, 2 * np.pi, n)
    total = np.zeros((n, len(PLACE)))
    for overtone, most in ((1, 1.0), (2, 0.7), (3, 0.5)):
        share = np.ones(n) if overtone == 1 else rng.uniform(0, most, n) * (rng.random(n) < 0.5)
        shift = overtone * phase if overtone == 1 else rng.uniform(0, 2 * np.pi, n)
        total += share[:, None] * np.sin(2 * np.pi * overtone * cycles[:, None] * PLACE + shift[:, None])
    return total, _wave(cycles, phase)


def chirps(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """A sinusoid whose frequency moves from one value to another."""
    start, end = log_uniform(rng, 0.5, 30, n), log_uniform(rng, 0.5, 30, n)
    turns = start[:, None] * PLACE + 0.5 * (end - start)[:, None] * PLACE**2
    known = {"cycles": np.log(start), "cycles_end": np.log(end)}
    return np.sin(2 * np.pi * turns + rng.uniform(0, 2 * np.pi, (n, 1))), known


def ringing(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """A damped oscillation that something starts."""
    cycles, decay, at = log_uniform(rng, 2, 40, n), log_uniform(rng, 2, 30, n), rng.uniform(0, 0.6, n)
    since = PLACE - at[:, None]
    wave = np.sin(2 * np.pi * cycles[:, None] * since) * np.exp(-decay[:, None] * np.maximum(since, 0))
    return wave * (since > 0), {"cycles": np.log(cycles), "decay": np.log(decay), "event_at": at}


def heartbeats(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """P, Q, R, S and T waves as Gaussians of the beat's phase (McSharry et al., IEEE TBME 50, 2003, 289)."""
    beats, start = log_uniform(rng, 0.8, 8, n), rng.random(n)
    at = np.array([-0.19, -0.04, 0.0, 0.04, 0.26]) + rng.normal(0, 0.01, (n, 5))
    width = np.array([0.04, 0.016, 0.017, 0.016, 0.06]) * log_uniform(rng, 0.7, 1.4, (n, 5))
    height = np.array([0.15, -0.12, 1.0, -0.25, 0.32]) * log_uniform(rng, 0.4, 2.0, (n, 5))
    place = beats[:, None] * PLACE + start[:, None]
    total = np.zeros((n, len(PLACE)))
    for wave in range(5):
        apart = (place - at[:, [wave]] + 0.5) % 1 - 0.5
        total += height[:, [wave]] * np.exp(-0.5 * (apart / width[:, [wave]]) ** 2)
    return total, _wave(beats, 2 * np.pi * start)


def steps(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Levels held between one to six sudden changes."""
    count = rng.integers(1, 7, n)
    at, size = rng.random((n, 6)), rng.normal(0, 1, (n, 6)) * (np.arange(6) < count[:, None])
    smooth = log_uniform(rng, 0.001, 0.03, (n, 1))
    total = np.zeros((n, len(PLACE)))
    for jump in range(6):
        total += size[:, [jump]] * np.tanh((PLACE - at[:, [jump]]) / smooth)
    return total, {"event_count": count.astype(np.float64)}


def ramps(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Straight pieces of different slope."""
    corners = np.sort(rng.random((n, 4)), axis=1)
    total = rng.normal(0, 1, (n, 1)) * PLACE
    for corner in range(4):
        total = total + rng.normal(0, 2, (n, 1)) * np.maximum(PLACE - corners[:, [corner]], 0)
    return total, {}


def walks(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Noise whose power falls as frequency^-slope: from flicker to smooth curves."""
    slope = rng.uniform(0.8, 4.0, n)
    frequency = np.arange(1, 65)
    size = frequency ** (-slope[:, None] / 2)
    spectrum = size * (rng.normal(size=(n, 64)) + 1j * rng.normal(size=(n, 64)))
    padded = np.concatenate([np.zeros((n, 1)), spectrum], axis=1)
    # Of twice the length, so that the two ends need not meet.
    return np.fft.irfft(padded, 2 * len(PLACE))[:, : len(PLACE)], {"slope": slope}


def loads(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Demand over one day or a few: low at night, humps of varying size and hour."""
    days = np.where(rng.random(n) < 0.7, 1, rng.integers(2, 8, n))
    hour = (24 * days[:, None] * PLACE) % 24
    total = np.zeros((n, len(PLACE)))
    for mean, spread, width in ((8.5, 1.2, 1.8), (12.5, 1.0, 2.5), (16.0, 1.5, 3.0), (20.0, 1.2, 2.0)):
        at, wide = rng.normal(mean, spread, (n, 1)), width * log_uniform(rng, 0.7, 1.4, (n, 1))
        apart = (hour - at + 12) % 24 - 12
        total += rng.uniform(0, 1, (n, 1)) * np.exp(-0.5 * (apart / wide) ** 2)
    return total, {"cycles": np.log(days.astype(np.float64))}


def gestures(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Rest, a smooth move to another level, a hold with some tremor, the way back; perhaps overshooting."""
    start, hold = rng.uniform(0.08, 0.4, n), rng.uniform(0.15, 0.55, n)
    rise, fall = log_uniform(rng, 0.015, 0.09, n), log_uniform(rng, 0.015, 0.09, n)
    end = np.minimum(start + hold, 0.95)
    total = 1 / (1 + np.exp(-(PLACE - start[:, None]) / rise[:, None]))
    total = total - 1 / (1 + np.exp(-(PLACE - end[:, None]) / fall[:, None]))
    for at, wide in (
        (start - 2 * rise, rise),
        (start + 3 * rise, rise),
        (end - 3 * fall, fall),
        (end + 3 * fall, fall),
    ):
        size = rng.normal(0, 0.12, (n, 1)) * (rng.random((n, 1)) < 0.6)
        total = total + size * _wavelet(at, 2 * wide, np.zeros(n))
    tremor = rng.uniform(0, 0.03, (n, 1)) * standardised(walks(n, rng)[0])
    return total + tremor, {"event_at": start, "event_end": end, "rise": np.log(rise), "fall": np.log(fall)}


def shapes(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Square, triangle and saw-tooth waves."""
    cycles, phase = log_uniform(rng, 0.7, 20, n), rng.uniform(0, 2 * np.pi, n)
    turn = (cycles[:, None] * PLACE + phase[:, None] / (2 * np.pi)) % 1
    duty = rng.uniform(0.2, 0.8, (n, 1))
    forms = np.stack([np.sign(turn - duty), np.minimum(turn / duty, (1 - turn) / (1 - duty)), turn])
    return forms[rng.integers(0, 3, n), np.arange(n)], _wave(cycles, phase)


def bursts(n: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """One to five short events at random places."""
    count = rng.integers(1, 6, n)
    total = np.zeros((n, len(PLACE)))
    for event in range(5):
        there = rng.normal(0, 1, (n, 1)) * (event < count[:, None])
        wide = log_uniform(rng, 0.008, 0.08, n)
        total += there * _wavelet(rng.random(n), wide, rng.uniform(0, 15, n))
    return total, {"event_count": count.astype(np.float64)}


PROCESSES: tuple[Process, ...] = (
    gestures,
    sinusoids,
    loads,
    chirps,
    walks,
    ringing,
    heartbeats,
    steps,
    ramps,
    shapes,
    bursts,
)


def _wavelet(at: Array, width: Array, turns: Array) -> Array:
    """Gaussian events [n, points] at `at`, `width` (deviation) wide, `turns` radians of wave a width."""
    reduced = (PLACE - at[:, None]) / width[:, None]
    return np.asarray(np.exp(-0.5 * reduced**2) * np.cos(turns[:, None] * reduced / 2))


def _wave(cycles: Array, phase: Array) -> dict[str, Array]:
    return {"cycles": np.log(cycles), "phase_cos": np.cos(phase), "phase_sin": np.sin(phase)}
