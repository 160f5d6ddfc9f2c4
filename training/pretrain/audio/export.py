"""The trained network as a backbone: an ONNX graph with every tap, its card, and proof that both agree."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.backbone import GRAPH, AudioPreprocess, BackboneCard, Tap, write_backbone
from models.base import sha256
from models.runtime import open_session
from training.backbones.baselines import HOP, LOG_FLOOR, MELS, RATE, dft_kernels, mel_filters
from training.backbones.graph import FLOAT, Dims, GraphWriter
from training.backbones.parity import check_parity
from training.pretrain.audio.network import (
    RANGE,
    SECONDS,
    STAGE1,
    STAGE2,
    STEM,
    WINDOW,
    Block,
    Network,
    Unit,
)

ID = "audio/durian-small"
TOLERANCE = 1e-4
DEPTHS = {
    "logmel": 0.0,
    "stem": 0.1,
    "stage1": 0.3,
    "stage2": 0.5,
    "stage3": 0.7,
    "stage4": 0.9,
    "embedding": 1.0,
}


def export(network: Network, folder: Path, source: str) -> BackboneCard:
    """Write the backbone into `folder`. Raises CorruptArtefact (`parity`) where the graph strays."""
    dims = {name: rows.shape[1] for name, rows in reference(network, probes()[:1]).items()}
    graph = to_onnx(network, dims)
    check(network, graph)
    card = BackboneCard(
        id=ID,
        modality="audio",
        preprocess=AudioPreprocess(sample_rate=RATE, seconds=SECONDS),
        input="audio",
        taps=_taps(dims),
        default_tap="embedding",
        parameters=sum(weight.numel() for weight in network.parameters()),
        licence="Apache-2.0",
        source=source,
        files={GRAPH: sha256(graph)},
    )
    write_backbone(folder, card, {GRAPH: graph})
    return card


def _taps(dims: dict[str, int]) -> tuple[Tap, ...]:
    """From the bottom to the top."""
    taps = [Tap(name=name, dim=dim, depth=DEPTHS[name.split("_")[0]]) for name, dim in dims.items()]
    return tuple(sorted(taps, key=lambda tap: (tap.depth, tap.dim)))


def check(network: Network, graph: bytes) -> float:
    """The largest difference over all taps and probes between torch and ONNX Runtime."""
    session = open_session(graph)
    waves = probes()
    expected = reference(network, waves)
    names = list(expected)
    got = dict(zip(names, session.run(names, {"audio": waves}), strict=True))
    return max(check_parity(f"{ID} at {name}", got[name], expected[name], TOLERANCE) for name in names)


def reference(network: Network, waves: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the network itself answers to waves [N, WINDOW]."""
    with torch.no_grad():
        return {name: rows.numpy() for name, rows in network.eval()(torch.from_numpy(waves)).items()}


def probes() -> NDArray[np.float32]:
    """Waves [8, WINDOW]: noise, tones and clips of different loudness and length, and silence."""
    rng = np.random.default_rng(0)
    t = np.arange(WINDOW) / RATE
    tones = np.sin(2 * np.pi * rng.uniform(100, 4000, (8, 1)) * t * (1 + 0.2 * t))
    waves = (tones + rng.uniform(0, 1, (8, 1)) * rng.standard_normal((8, WINDOW))) / 4
    waves *= 10.0 ** -np.arange(0, 4, 0.5)[:, None] * (t < rng.uniform(0.2, 1, (8, 1)))
    waves[-1] = 0
    return waves.astype(np.float32)


def to_onnx(network: Network, dims: dict[str, int]) -> bytes:
    """Deterministic bytes of the graph: batch normalisation folded into weights, every tap an output."""
    g = GraphWriter()
    planes, above, sounding = _planes(g, _logmel(g))
    half = g.node("MaxPool", sounding, kernel_shape=[5], strides=[2], pads=[2, 2])
    quarter = g.node("MaxPool", half, kernel_shape=[3], strides=[2], pads=[1, 1])
    stem = g.node("Relu", _unit(g, "stem", network.stem, planes))
    stage1 = _block(g, "stage1", network.stage1, stem)
    stage2 = _flat(g, STAGE2 * (MELS // 8), _block(g, "stage2", network.stage2, stage1))
    stage3 = g.node("Relu", _unit(g, "fold", network.fold, stage2))
    stage3 = _blocks(g, "stage3", network.stage3, stage3)
    stage4 = _blocks(g, "stage4", network.stage4, stage3)
    _statistics(g, "logmel", above, sounding)
    _statistics(g, "stem", _flat(g, STEM * (MELS // 2), stem), half)
    _statistics(g, "stage1", _flat(g, STAGE1 * (MELS // 4), stage1), half)
    for name, values in (("stage2", stage2), ("stage3", stage3), ("stage4", stage4)):
        _statistics(g, name, values, quarter)
    g.node("ReduceMax", stage4, axes=[2], keepdims=0, out="stage4_peak")
    _embedding(g, network)
    outputs: dict[str, Dims] = {name: ("N", dim) for name, dim in dims.items()}
    return g.to_bytes("durian-small", {"audio": (FLOAT, ("N", WINDOW))}, outputs)


def _logmel(g: GraphWriter) -> str:
    """[N, WINDOW] -> [N, MELS, frames]."""
    wave = g.node("Unsqueeze", "audio", g.ints(1))
    parts = g.node("Conv", wave, g.constant("dft", dft_kernels()), strides=[HOP])
    mel = g.constant("mel", np.concatenate([mel_filters()] * 2, axis=1))  # adds real and imaginary power
    energy = g.node("MatMul", mel, g.node("Mul", parts, parts))
    return g.node("Log", g.node("Add", energy, g.scalar(LOG_FLOOR)))


def _planes(g: GraphWriter, mel: str) -> tuple[str, str, str]:
    """As `network.planes`: the planes [N, 2, MELS, frames], the first of them, and the sounding [N, 1, T]."""
    peak = g.node("ReduceMax", mel, axes=[1, 2])
    above = g.node("Relu", g.node("Add", g.node("Sub", mel, peak), g.scalar(RANGE)))
    loud = g.node("Mul", g.node("ReduceMax", above, axes=[1]), g.scalar(2 / RANGE))
    sounding = g.node("Min", loud, g.scalar(1.0))
    share = _share(g, sounding)
    mean = g.node("ReduceSum", g.node("Mul", above, share), g.ints(2))
    colourless = g.node("Mul", g.node("Sub", above, mean), sounding)
    stacked = [g.node("Unsqueeze", plane, g.ints(1)) for plane in (above, colourless)]
    both = g.node("Div", g.node("Concat", *stacked, axis=1), g.scalar(3.0))
    return both, g.node("Div", above, g.scalar(3.0)), sounding


def _share(g: GraphWriter, weight: str) -> str:
    return g.node("Div", weight, g.node("ReduceSum", weight, g.ints(2)))


def _statistics(g: GraphWriter, tap: str, values: str, weight: str) -> str:
    """As `network.statistics`: [N, C, T] -> the taps `NAME_mean` [N, C] and `NAME` [N, 2 C]."""
    share = _share(g, weight)
    mean = g.node("ReduceSum", g.node("Mul", values, share), g.ints(2))
    g.node("Flatten", mean, axis=1, out=f"{tap}_mean")
    off = g.node("Sub", values, mean)
    variance = g.node("ReduceSum", g.node("Mul", g.node("Mul", off, off), share), g.ints(2))
    deviation = g.node("Sqrt", g.node("Add", variance, g.scalar(1e-5)))
    return g.node("Flatten", g.node("Concat", mean, deviation, axis=1), axis=1, out=tap)


def _flat(g: GraphWriter, channels: int, x: str) -> str:
    """Frequency as channels: [N, C, F, T] -> [N, C F, T]."""
    return g.node("Reshape", x, g.ints(0, channels, -1))


def _unit(g: GraphWriter, name: str, unit: Unit, x: str) -> str:
    """Convolution with the normalisation that follows folded in."""
    scale, shift = _affine(unit.norm)
    weight = unit.conv.weight.detach().double().numpy()
    folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    constants = (
        g.constant(f"{name}_weight", folded.astype(np.float32)),
        g.constant(f"{name}_bias", shift.astype(np.float32)),
    )
    pads = [size // 2 for size in weight.shape[2:]] * 2
    return g.node("Conv", x, *constants, strides=list(unit.conv.stride), pads=pads)


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift that a normalisation amounts to once its statistics are fixed."""
    weights = {name: value.detach().double().numpy() for name, value in norm.state_dict().items()}
    scale = weights["weight"] / np.sqrt(weights["running_var"] + norm.eps)
    return scale, weights["bias"] - weights["running_mean"] * scale


def _block(g: GraphWriter, name: str, block: Block, x: str) -> str:
    past = x if block.shortcut is None else _unit(g, f"{name}_shortcut", block.shortcut, x)
    inner = g.node("Relu", _unit(g, f"{name}_first", block.first, x))
    return g.node("Relu", g.node("Add", _unit(g, f"{name}_second", block.second, inner), past))


def _blocks(g: GraphWriter, name: str, stage: nn.Sequential, x: str) -> str:
    for number, block in enumerate(stage):
        x = _block(g, f"{name}_{number}", cast(Block, block), x)
    return x


def _embedding(g: GraphWriter, network: Network) -> None:
    """The statistics of stages 2 and 4, standardised."""
    mean, deviation = (g.constant(name, getattr(network, name).numpy()) for name in ("mean", "deviation"))
    centred = g.node("Sub", g.node("Concat", "stage2", "stage4", axis=1), mean)
    g.node("Div", centred, deviation, out="embedding")
