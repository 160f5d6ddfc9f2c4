"""The backbone as an ONNX graph with every tap, its card, and proof that both compute the same."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbone import GRAPH, BackboneCard, ImagePreprocess, Tap
from models.base import sha256
from models.runtime import Features, open_session
from training.backbones.graph import FLOAT, UINT8, Dims, GraphWriter
from training.backbones.parity import check_parity
from training.backbones.source import Exported
from training.pretrain.image.model import LEAST, QUARTERS, SPREAD, STAGES, Durian
from training.pretrain.image.network import SIDE, Stage, Unit
from training.pretrain.image.patches import CONTRAST, FLOOR, SIZE, THRESHOLD, Patches

ID = "image/durian-small"
TOLERANCE = 1e-4
DEPTHS = {
    "texture": 0.1,
    "stem": 0.2,
    "stage_1": 0.45,
    "stage_2": 0.7,
    "stage_3": 0.9,
    "code": 1,
    "embedding": 1,
}
SOURCE = "Trained by Durian (training/pretrain/image) on pictures made by formula and the two photographs in scikit-learn."


def export(model: Durian) -> Exported:
    """The backbone in memory. Raises CorruptArtefact (`parity`) where graph and model differ."""
    expected = reference(model, probes())
    dims = {name: values.shape[1] for name, values in expected.items()}
    graph = write_graph(model, dims)
    session = open_session(graph)
    for name, values in expected.items():
        check_parity(f"{ID} at {name}", session.run([name], {"image": probes()})[0], values, TOLERANCE)
    taps = [Tap(name=name, dim=dim, depth=DEPTHS[name.removesuffix("_stat")]) for name, dim in dims.items()]
    card = BackboneCard(
        id=ID,
        modality="image",
        preprocess=ImagePreprocess(width=SIDE, height=SIDE),
        input="image",
        taps=tuple(sorted(taps, key=lambda tap: tap.depth)),
        default_tap="embedding",
        parameters=sum(weights.numel() for weights in [*model.parameters(), model.patches.filters]),
        licence="Apache-2.0",
        source=SOURCE,
        files={GRAPH: sha256(graph)},
    )
    return Exported(card, {GRAPH: graph})


def reference(model: Durian, images: NDArray[np.uint8]) -> dict[str, Features]:
    """What the model itself answers to images [N, 64, 64, 3]."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return {name: values.numpy() for name, values in model.eval()(pixels).items()}


def probes() -> NDArray[np.uint8]:
    """Images [8, 64, 64, 3]: noise of several contrasts and grains, a drawn line, black, white."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    images[1] //= 8
    images[2] = np.kron(images[2, ::8, ::8], np.ones((8, 8, 1), np.uint8))
    images[3] = np.kron(images[3, ::16, ::16], np.ones((16, 16, 1), np.uint8))
    images[4] = images[4, :, :, :1]
    images[5] = 255 - 255 * np.eye(SIDE, dtype=np.uint8)[..., None]
    images[6], images[7] = 0, 255
    return images


def write_graph(model: Durian, dims: dict[str, int]) -> bytes:
    """Deterministic bytes: input `image` uint8 [N, 64, 64, 3], one output a tap."""
    g = GraphWriter()
    pixels = g.node("Transpose", g.node("Cast", "image", to=FLOAT), perm=[0, 3, 1, 2])
    x = g.node("Div", pixels, g.scalar(255.0))
    maps = _maps(g, model, x)
    for name, values in zip(STAGES, maps, strict=True):
        _statistics(g, name, values)
    _texture(g, model.patches, x)
    _code(g, model, maps[-1])
    _embedding(g, model, maps[2])
    outputs: dict[str, Dims] = {name: ("N", dim) for name, dim in dims.items()}
    return g.to_bytes("durian-small", {"image": (UINT8, ("N", SIDE, SIDE, 3))}, outputs)


def _maps(g: GraphWriter, model: Durian, x: str) -> list[str]:
    level = g.node("Sub", g.node("Mul", x, g.scalar(4.0)), g.scalar(2.0))
    found = [g.node("Relu", _unit(g, "stem", model.encoder.stem, level))]
    for number, stage in enumerate(model.encoder.stages, 1):
        assert isinstance(stage, Stage)
        found.append(_stage(g, f"stage_{number}", stage, found[-1]))
    return found


def _stage(g: GraphWriter, name: str, stage: Stage, x: str) -> str:
    x = g.node("Relu", _unit(g, f"{name}_down", stage.down, x))
    inner = g.node("Relu", _unit(g, f"{name}_first", stage.first, x))
    return g.node("Relu", g.node("Add", x, _unit(g, f"{name}_second", stage.second, inner)))


def _unit(g: GraphWriter, name: str, unit: Unit, x: str) -> str:
    """Convolution with the normalisation that follows folded in."""
    weight, bias = unit.folded()
    pad = weight.shape[-1] // 2
    constants = _constant(g, f"{name}_weight", weight), _constant(g, f"{name}_bias", bias)
    return g.node("Conv", x, *constants, strides=[unit[0].stride[0]] * 2, pads=[pad] * 4)


def _statistics(g: GraphWriter, name: str, maps: str) -> None:
    """The taps NAME (mean over space) and NAME_stat (mean and standard deviation)."""
    mean = g.node("ReduceMean", maps, axes=[2, 3], keepdims=1)
    g.node("Flatten", mean, axis=1, out=name)
    off = g.node("Sub", maps, mean)
    variance = g.node("ReduceMean", g.node("Mul", off, off), axes=[2, 3], keepdims=0)
    deviation = g.node("Sqrt", g.node("Add", variance, g.scalar(SPREAD)))
    g.node("Concat", name, deviation, axis=1, out=f"{name}_stat")


def _texture(g: GraphWriter, patches: Patches, x: str) -> None:
    """As `Patches.forward`."""
    small = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    mean = _local_mean(g, small)
    variance = g.node("Sub", _local_mean(g, g.node("Mul", small, small)), g.node("Mul", mean, mean))
    deviation = g.node("Sqrt", g.node("Add", g.node("Relu", variance), g.scalar(CONTRAST)))
    products = g.node("Div", g.node("Conv", small, _constant(g, "atoms", patches.filters)), deviation)
    above = g.node("Sub", products, _constant(g, "atom_offsets", patches.offsets[:, None, None]))
    both = g.node("Concat", above, g.node("Neg", above), axis=1)
    active = g.node("Relu", g.node("Sub", both, g.scalar(THRESHOLD)))
    quarters = g.node("AveragePool", active, kernel_shape=[14, 14], strides=[13, 13])
    _hellinger(g, quarters, out="texture")


def _local_mean(g: GraphWriter, x: str) -> str:
    """The mean over channels and the patch at each place."""
    grey = g.node("ReduceMean", x, axes=[1], keepdims=1)
    return g.node("AveragePool", grey, kernel_shape=[SIZE, SIZE], strides=[1, 1])


def _hellinger(g: GraphWriter, maps: str, out: str | None = None) -> str:
    root = g.node("Sqrt", g.node("Add", g.node("Flatten", maps, axis=1), g.scalar(FLOOR)))
    return g.node("Div", root, g.node("ReduceL2", root, axes=[1], keepdims=1), out=out)


def _code(g: GraphWriter, model: Durian, last: str) -> None:
    squeezed = g.node("Relu", _unit(g, "squeeze", model.encoder.squeeze, last))
    linear = model.encoder.code
    constants = _constant(g, "code_weight", linear.weight), _constant(g, "code_bias", linear.bias)
    code = g.node("Gemm", g.node("Flatten", squeezed, axis=1), *constants, transB=1)
    g.node("Div", code, g.node("ReduceL2", code, axes=[1], keepdims=1), out="code")


def _embedding(g: GraphWriter, model: Durian, middle: str) -> None:
    constants = _constant(g, "gate_weight", model.gate.weight), _constant(g, "gate_bias", model.gate.bias)
    gate = g.node("Sigmoid", g.node("Gemm", "stage_3", *constants, transB=1))
    drawing = g.node("Add", g.node("Mul", gate, g.scalar(1 - LEAST)), g.scalar(LEAST))
    quarters = _hellinger(g, g.node("AveragePool", middle, kernel_shape=[4, 4], strides=[4, 4]))
    parts = g.node("Mul", "code", drawing), "texture", g.node("Mul", quarters, g.scalar(QUARTERS))
    g.node("Concat", *parts, axis=1, out="embedding")


def _constant(g: GraphWriter, name: str, values: Tensor) -> str:
    return g.constant(name, values.detach().numpy().astype(np.float32))
