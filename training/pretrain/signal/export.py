"""The network as a backbone's ONNX graph: norms folded into the convolutions, one named output a tap."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbone import GRAPH, BackboneCard, SignalPreprocess, Tap
from models.base import sha256
from training.backbones.graph import FLOAT, GraphWriter
from training.backbones.parity import check_parity
from training.backbones.source import Exported
from training.pretrain.signal.made import POINTS
from training.pretrain.signal.network import REACH, TINY, SignalNetwork
from models.runtime import open_session

ID = "signal/durian-small"
DEFAULT_TAP = "embedding"
TOLERANCE = 1e-4
DEPTHS = {
    "snv": 0.0,
    "stem": 0.1,
    "stage1": 0.25,
    "stage2": 0.4,
    "stage3": 0.6,
    "stage4": 0.8,
    "profile": 0.85,
    "embedding": 1.0,
}
"""The taps that are served, and where in the network they are."""


def export(network: SignalNetwork) -> Exported:
    """Graph and card of a trained network, every tap checked against it. Raises CorruptArtefact (`parity`)."""
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
    x = _convolution(g, "stem", channels, network.stem, relu=True)
    _statistics(g, x, "stem")
    pooled = {}
    for number, stage in enumerate(network.stages, start=1):
        name = f"stage{number}"
        x = _block(g, name, x, stage)
        pooled[name] = _statistics(g, x, name)
    profile = _convolution(g, "profile", x, network.profile)
    g.node("Flatten", profile, axis=1, out="profile")
    seen = g.node("Concat", pooled["stage4"], pooled["stage3"], "profile", axis=1)
    hidden = g.node("Relu", _linear(g, "hidden", seen, network.hidden))
    code = _linear(g, "code", hidden, network.embedding)
    g.node("Concat", code, amplitude, axis=1, out="embedding")
    shape = ("N", POINTS)
    outputs = {tap.name: ("N", tap.dim) for tap in taps}
    return g.to_bytes("durian-small", {"signal": (FLOAT, shape)}, outputs)


def _front(g: GraphWriter, network: SignalNetwork) -> tuple[str, str]:
    """`training.pretrain.signal.network.Front`, node by node; makes the tap `snv`."""
    mean = g.node("ReduceMean", "signal", axes=[1])
    centred = g.node("Sub", "signal", mean)
    deviation = _root_mean_square(g, centred, 1)
    largest = g.node("ReduceMax", g.node("Abs", "signal"), axes=[1])
    floor = g.node("Max", g.node("Mul", largest, g.scalar(1e-6)), g.scalar(1e-30))
    g.node("Div", centred, g.node("Max", deviation, floor), out="snv")
    channel = g.node("Unsqueeze", "snv", g.ints(1))
    padded = g.node("Pad", channel, g.ints(0, 0, REACH, 0, 0, REACH), mode="edge")
    slopes = g.node("Conv", padded, g.constant("derivatives", network.front.kernels.numpy()))
    rough = _root_mean_square(g, slopes, 2)
    seen = g.node("Div", slopes, g.node("Max", rough, g.scalar(1e-3)))
    channels = g.node("Concat", channel, seen, axis=1)
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


def _block(g: GraphWriter, name: str, x: str, block: nn.Module) -> str:
    x = _convolution(g, f"{name}.enter", x, block.enter, relu=True)
    inner = _convolution(g, f"{name}.first", x, block.first, relu=True)
    added = g.node("Add", x, _convolution(g, f"{name}.second", inner, block.second))
    return g.node("Relu", added)


def _convolution(g: GraphWriter, name: str, x: str, layer: nn.Module, *, relu: bool = False) -> str:
    """A convolution with the norm after it, if any, folded in."""
    conv = layer[0] if isinstance(layer, nn.Sequential) else layer
    assert isinstance(conv, nn.Conv1d)
    weight, bias = conv.weight, conv.bias
    if isinstance(layer, nn.Sequential):
        weight, bias = folded(conv.weight, layer[1])
    w, b = g.constant(f"{name}.weight", _array(weight)), g.constant(f"{name}.bias", _array(bias))
    (kernel,), (stride,), padding = conv.kernel_size, conv.stride, int(conv.padding[0])
    made = g.node("Conv", x, w, b, kernel_shape=[kernel], strides=[stride], pads=[padding, padding])
    return g.node("Relu", made) if relu else made


def _linear(g: GraphWriter, name: str, x: str, layer: nn.Sequential) -> str:
    weight, bias = folded(layer[0].weight, layer[1])
    w, b = g.constant(f"{name}.weight", _array(weight)), g.constant(f"{name}.bias", _array(bias))
    return g.node("Gemm", x, w, b, transB=1)


def folded(weight: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer without bias followed by a batch norm, as one layer."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = torch.zeros_like(gain)
    if norm.affine:
        gain, shift = gain * norm.weight, norm.bias.double()
    rest = [1] * (weight.ndim - 1)
    return weight * gain.reshape(-1, *rest), shift - norm.running_mean.double() * gain


def _array(tensor: Tensor | None) -> NDArray[np.float32]:
    assert tensor is not None
    return tensor.detach().numpy().astype(np.float32)


def _statistics(g: GraphWriter, x: str, out: str) -> str:
    """Mean, deviation and maximum over positions, as the tap `out`."""
    mean = g.node("ReduceMean", x, axes=[2])
    centred = g.node("Sub", x, mean)
    variance = g.node("ReduceMean", g.node("Mul", centred, centred), axes=[2])
    deviation = g.node("Sqrt", g.node("Add", variance, g.scalar(TINY)))
    both = g.node("Concat", mean, deviation, g.node("ReduceMax", x, axes=[2]), axis=1)
    return g.node("Flatten", both, axis=1, out=out)
