"""The declared baselines: no learning, only resize or resample and standardise, as tiny graphs.

A backbone must beat these to be worth its cost, so every estimate compares against them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.backbone import (
    GRAPH,
    REDUCING_GAP,
    AudioPreprocess,
    BackboneCard,
    ImagePreprocess,
    Preprocess,
    SignalPreprocess,
    Tap,
)
from models.base import sha256
from training.backbones.graph import FLOAT, UINT8, Dims, GraphWriter
from training.backbones.source import EmbeddedSource, Exported

SIDE = 16
POINTS = 256
SLOPE = 15
RATE = 16_000
SECONDS = 1.0
FRAME, HOP, FFT, MELS = 400, 160, 512, 40  # 25 ms, 10 ms; the frame is zero-padded to FFT
LOG_FLOOR = 1e-6


def pixels() -> Exported:
    """image/pixels: 16 x 16 RGB, each value / 255 - 0.5. Tap `pixels` [N, 768]."""
    g = GraphWriter()
    values = g.node("Div", g.node("Cast", "image", to=FLOAT), g.scalar(255.0))
    g.node("Flatten", g.node("Sub", values, g.scalar(0.5)), axis=1, out="pixels")
    dim = SIDE * SIDE * 3
    graph = g.to_bytes("pixels", {"image": (UINT8, ("N", SIDE, SIDE, 3))}, {"pixels": ("N", dim)})
    preprocess = ImagePreprocess(width=SIDE, height=SIDE, reducing_gap=2 * REDUCING_GAP)  # of so few pixels
    return _exported("image", "pixels", preprocess, graph, (Tap(name="pixels", dim=dim, depth=1),))


def raw() -> Exported:
    """signal/raw: 256 points. Taps `raw` (as they are) and `snv`, each [N, 256], and `derivative` [N, 242].

    SNV, the standard normal variate (Barnes et al. 1989), takes each signal's mean away and divides by
    its standard deviation, and with them the offset and gain that differ between instruments; it is the
    default. `raw` keeps them, for tasks where the level is the answer. `derivative` is the SNV of the
    slope of parabolas through 15 points each (Savitzky and Golay 1964), which takes a sloping baseline
    away too. A constant signal becomes zeros.
    """
    g = GraphWriter()
    g.node("Identity", "signal", out="raw")
    largest = g.node("ReduceMax", g.node("Abs", "signal"), axes=[1])
    scaled = g.node("Div", "signal", g.node("Max", largest, g.scalar(1e-37)))  # squares stay in range
    snv = _standardised(g, scaled, 1e-6, out="snv")  # less is rounding error
    slopes = g.node("Conv", g.node("Unsqueeze", snv, g.ints(1)), g.constant("slope", slope_kernel()))
    _standardised(g, g.node("Squeeze", slopes, g.ints(1)), 1e-4, out="derivative")
    shape = ("N", POINTS)
    outputs: dict[str, Dims] = {"raw": shape, "snv": shape, "derivative": ("N", POINTS - SLOPE + 1)}
    graph = g.to_bytes("raw", {"signal": (FLOAT, shape)}, outputs)
    taps = (
        Tap(name="raw", dim=POINTS, depth=0),
        Tap(name="derivative", dim=POINTS - SLOPE + 1, depth=0.5),
        Tap(name="snv", dim=POINTS, depth=1),
    )
    return _exported("signal", "raw", SignalPreprocess(points=POINTS), graph, taps)


def slope_kernel() -> NDArray[np.float32]:
    """Least-squares slope of a line or parabola through SLOPE points, one apart: [1, 1, SLOPE]."""
    place = np.arange(SLOPE) - SLOPE // 2
    return np.asarray(place / (place**2).sum(), np.float32)[None, None]


def logmel() -> Exported:
    """audio/logmel: 40 log mel energies of 25 ms frames each 10 ms, over one second at 16 kHz.

    Tap `logmel` [N, 80]: their mean over time, then their standard deviation.
    """
    g = GraphWriter()
    samples = int(RATE * SECONDS)
    wave = g.node("Unsqueeze", "audio", g.ints(1))
    parts = g.node("Conv", wave, g.constant("dft", dft_kernels()), strides=[HOP])  # [N, 514, frames]
    power = g.node("Mul", parts, parts)
    mel = g.constant("mel", np.concatenate([mel_filters()] * 2, axis=1))  # adds real and imaginary power
    log = g.node("Log", g.node("Add", g.node("MatMul", mel, power), g.scalar(LOG_FLOOR)))
    mean = g.node("ReduceMean", log, axes=[2])
    deviation = _root_mean_square(g, g.node("Sub", log, mean), axis=2)
    g.node("Flatten", g.node("Concat", mean, deviation, axis=1), axis=1, out="logmel")
    graph = g.to_bytes("logmel", {"audio": (FLOAT, ("N", samples))}, {"logmel": ("N", 2 * MELS)})
    preprocess = AudioPreprocess(sample_rate=RATE, seconds=SECONDS)
    return _exported("audio", "logmel", preprocess, graph, (Tap(name="logmel", dim=2 * MELS, depth=1),))


def dft_kernels() -> NDArray[np.float32]:
    """Hann-windowed cosines, then sines, of every bin: [2 * (FFT / 2 + 1), 1, FRAME]."""
    t = np.arange(FRAME)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / FRAME)
    angle = 2 * np.pi * np.arange(FFT // 2 + 1)[:, None] * t / FFT
    kernels = np.concatenate([np.cos(angle), np.sin(angle)]) * window
    return kernels[:, None].astype(np.float32)


def mel_filters() -> NDArray[np.float32]:
    """Triangles from 20 Hz to 8 kHz, even on the scale 2595 log10(1 + f / 700): [MELS, FFT / 2 + 1]."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (20, RATE / 2))
    corners = 700 * (10 ** (np.linspace(low, high, MELS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    rise = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    fall = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def _standardised(g: GraphWriter, x: str, least: float, out: str) -> str:
    """Each row [N, points] less its mean, over its standard deviation where that is above `least`."""
    centred = g.node("Sub", x, g.node("ReduceMean", x, axes=[1]))
    deviation = _root_mean_square(g, centred, axis=1)
    return g.node("Div", centred, g.node("Max", deviation, g.scalar(least)), out=out)


def _root_mean_square(g: GraphWriter, x: str, axis: int) -> str:
    return g.node("Sqrt", g.node("ReduceMean", g.node("Mul", x, x), axes=[axis]))


def _exported(
    modality: Literal["image", "audio", "signal"],
    name: str,
    preprocess: Preprocess,
    graph: bytes,
    taps: tuple[Tap, ...],
) -> Exported:
    """A baseline's card: the last tap is its default, the graph's input has its modality's name."""
    card = BackboneCard(
        id=f"{modality}/{name}",
        modality=modality,
        preprocess=preprocess,
        input=modality,
        taps=taps,
        default_tap=taps[-1].name,
        parameters=0,
        licence="Apache-2.0",
        source="Durian",
        baseline=True,
        files={GRAPH: sha256(graph)},
    )
    return Exported(card, {GRAPH: graph})


SOURCES = (
    EmbeddedSource("image/pixels", pixels),
    EmbeddedSource("signal/raw", raw),
    EmbeddedSource("audio/logmel", logmel),
)
