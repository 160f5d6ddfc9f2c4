"""The network as a backbone's ONNX graph: norms folded into the convolutions, one named output a tap."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbone import GRAPH, BackboneCard, SignalPreprocess, Tap
from models.base import sha256
from models.runtime import open_session
from training.backbones.graph import FLOAT, Dims, GraphWriter
from training.backbones.parity import check_parity
from training.backbones.source import Exported
from training.pretrain.signal.made import POINTS
from training.pretrain.signal.network import (
    DERIVATIVE_WEIGHT,
    PLACES,
    PLACES_WEIGHT,
    REACH,
    TINY,
    Block,
    Normed,
    SignalNetwork,
)

ID = "signal/durian-small"
DEFAULT_TAP = "embedding"
TOLERANCE = 1e-4
POOLED = {"stem": 0.1, "stage1": 0.25, "stage2": 0.4, "stage3": 0.6, "stage4": 0.8}
DEPTHS = {
    "snv": 0.0,
    "derivatives": 0.05,
    **{f"{name}{how}": depth for name, depth in POOLED.items() for how in ("_mean", "", "_places")},
    "profile": 0.85,
    "code": 0.95,
    "embedding": 1.0,
}
"""The taps that are served, and where in the network they are."""


def export(network: SignalNetwork) -> Exported:
    """Graph and card of a trained network, every tap checked. Raises CorruptArtefact (`parity`)."""
    network = network.eval()
    samples = probes()
    with torch.no_grad():
        expected = {name: tap.numpy() for name, tap in network(torch.from_numpy(samples)).items()}
    taps = tuple(Tap(name=name, dim=expected[name].shape[1], depth=depth) for name, depth in DEPTHS.items())
    graph = write_graph(network, taps)
    session = open_session(graph)
    for tap in taps:
        got = session.run([tap.name], {"signal": samples})[0]
        check_parity(f"{ID}, tap {tap.name}", got, expected[tap.name], TOLERANCE)
    card = BackboneCard(
        id=ID,
        modality="signal",
        preprocess=SignalPreprocess(points=POINTS),
        input="signal",
        taps=taps,
        default_tap=DEFAULT_TAP,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        licence="Apache-2.0",
        source="Durian: trained on simulated spectra and series, training/pretrain/signal",
        files={GRAPH: sha256(graph)},
    )
    return Exported(card, {GRAPH: graph})


def probes() -> NDArray[np.float32]:
    """Signals for the parity check: noise, smooth curves, extremes of level and size, and constants."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((6, POINTS))
    curves = [*noise, *np.cumsum(noise, axis=1), 1e-6 * noise[0], 1e6 * noise[1] + 1e6, 3 + 0.01 * noise[2]]
    return np.stack([*curves, np.zeros(POINTS), np.full(POINTS, 5.0)]).astype(np.float32)


def write_graph(network: SignalNetwork, taps: tuple[Tap, ...]) -> bytes:
    """The ONNX graph: `signal` float32 [N, POINTS] -> the taps, float32 [N, dim]."""
    g = GraphWriter()
    channels, amplitude = _front(g, network)
    x = g.node("Relu", _normed(g, "stem", channels, network.stem))
    _pooled(g, x, "stem")
    for name, block in network.named_stages():
        x = _block(g, name, x, block)
        _pooled(g, x, name)
    weight, bias = network.profile.weight, cast(Tensor, network.profile.bias)
    g.node("Flatten", _convolution(g, "profile", x, network.profile, weight, bias), axis=1, out="profile")
    seen = g.node("Concat", "stage4", "stage3", "profile", axis=1)
    hidden = g.node("Relu", _normed(g, "hidden", seen, network.hidden))
    g.node("Identity", _normed(g, "code", hidden, network.embedding), out="code")
    where = g.node("Mul", "stage3_places", g.scalar(PLACES_WEIGHT))
    g.node("Concat", "code", where, amplitude, axis=1, out="embedding")
    outputs: dict[str, Dims] = {tap.name: ("N", tap.dim) for tap in taps}
    return g.to_bytes("durian-small", {"signal": (FLOAT, ("N", POINTS))}, outputs)


def _front(g: GraphWriter, network: SignalNetwork) -> tuple[str, str]:
    """`training.pretrain.signal.network.Front`, node by node; makes the taps `snv` and `derivatives`."""
    mean = g.node("ReduceMean", "signal", axes=[1])
    centred = g.node("Sub", "signal", mean)
    deviation = _root_mean_square(g, centred, 1)
    largest = g.node("ReduceMax", g.node("Abs", "signal"), axes=[1])
    floor = g.node("Max", g.node("Mul", largest, g.scalar(1e-6)), g.scalar(1e-30))
    g.node("Div", centred, g.node("Max", deviation, floor), out="snv")
    channel = g.node("Unsqueeze", "snv", g.ints(1))
    padded = g.node("Pad", channel, g.ints(0, 0, REACH, 0, 0, REACH), mode="edge")
    slopes = g.node("Conv", padded, g.constant("derivative.weight", network.front.kernels.numpy()))
    rough = _root_mean_square(g, slopes, 2)
    seen = g.node("Div", slopes, g.node("Max", rough, g.scalar(1e-3)))
    channels = g.node("Concat", channel, seen, axis=1)
    lighter = g.node("Mul", g.node("Flatten", seen, axis=1), g.scalar(DERIVATIVE_WEIGHT))
    g.node("Concat", "snv", lighter, axis=1, out="derivatives")
    return channels, _amplitude(g, mean, deviation, g.node("Squeeze", rough, g.ints(2)))


def _amplitude(g: GraphWriter, mean: str, deviation: str, rough: str) -> str:
    """`size`, `level` and `roughness` of `training.pretrain.signal.network`, side by side."""
    above = g.node("Max", deviation, g.scalar(1e-12))
    size = g.node("Clip", g.node("Div", _log10(g, above), g.scalar(4.0)), g.scalar(-3.0), g.scalar(3.0))
    ratio = g.node("Div", mean, above)
    level = g.node("Div", ratio, g.node("Add", g.node("Abs", ratio), g.scalar(3.0)))
    return g.node("Concat", size, level, _log10(g, g.node("Max", rough, g.scalar(1e-3))), axis=1)


def _log10(g: GraphWriter, x: str) -> str:
    return g.node("Div", g.node("Log", x), g.scalar(float(np.log(10))))


def _root_mean_square(g: GraphWriter, x: str, axis: int) -> str:
    return g.node("Sqrt", g.node("ReduceMean", g.node("Mul", x, x), axes=[axis]))


def _block(g: GraphWriter, name: str, x: str, block: Block) -> str:
    x = g.node("Relu", _normed(g, f"{name}.enter", x, block.enter))
    inner = g.node("Relu", _normed(g, f"{name}.first", x, block.first))
    return g.node("Relu", g.node("Add", x, _normed(g, f"{name}.second", inner, block.second)))


def _normed(g: GraphWriter, name: str, x: str, normed: Normed) -> str:
    """A layer with the norm after it folded in."""
    weight, bias = normed.folded()
    if isinstance(normed.layer, nn.Conv1d):
        return _convolution(g, name, x, normed.layer, weight, bias)
    return g.node("Gemm", x, *_weights(g, name, weight, bias), transB=1)


def _convolution(g: GraphWriter, name: str, x: str, conv: nn.Conv1d, weight: Tensor, bias: Tensor) -> str:
    (kernel,), (stride,), pad = conv.kernel_size, conv.stride, int(conv.padding[0])
    constants = _weights(g, name, weight, bias)
    return g.node("Conv", x, *constants, kernel_shape=[kernel], strides=[stride], pads=[pad, pad])


def _weights(g: GraphWriter, name: str, weight: Tensor, bias: Tensor) -> tuple[str, str]:
    arrays = [tensor.detach().numpy().astype(np.float32) for tensor in (weight, bias)]
    return g.constant(f"{name}.weight", arrays[0]), g.constant(f"{name}.bias", arrays[1])


def _pooled(g: GraphWriter, x: str, name: str) -> None:
    """`training.pretrain.signal.network.pooled`: the three taps of a stage."""
    mean = g.node("ReduceMean", x, axes=[2])
    g.node("Flatten", mean, axis=1, out=f"{name}_mean")
    parts = g.node("ReduceMean", g.node("Reshape", x, g.ints(0, 0, PLACES, -1)), axes=[3])
    g.node("Flatten", parts, axis=1, out=f"{name}_places")
    centred = g.node("Sub", x, mean)
    variance = g.node("ReduceMean", g.node("Mul", centred, centred), axes=[2])
    deviation = g.node("Sqrt", g.node("Add", variance, g.scalar(TINY)))
    both = g.node("Concat", mean, deviation, g.node("ReduceMax", x, axes=[2]), axis=1)
    g.node("Flatten", both, axis=1, out=name)
