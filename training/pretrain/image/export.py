"""The backbone as an ONNX graph with every tap, its card, and proof that both compute the same."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbone import GRAPH, REDUCING_GAP, BackboneCard, ImagePreprocess, Tap
from models.base import sha256
from models.runtime import Features, open_session
from training.backbones.graph import FLOAT, UINT8, Dims, GraphWriter
from training.backbones.parity import check_parity
from training.backbones.source import Exported
from training.pretrain.image.gradients import CALM, CELL, DIRECTIONS, FAINT, STRIDE, directions
from training.pretrain.image.model import COLOURFUL, GRADIENTS, LEAST, QUARTERS, SPREAD, STAGES, Durian
from training.pretrain.image.network import SIDE, Stage, Unit
from training.pretrain.image.patches import CONTRAST, FLOOR, SIZE, THRESHOLD, Patches

ID = "image/durian-small"
TOLERANCE = 1e-4
DEPTHS = {
    "texture": 0.1,
    "gradients": 0.1,
    "stem": 0.2,
    "stage_1": 0.45,
    "stage_2": 0.7,
    "stage_3": 0.9,
    "code": 1.0,
    "embedding": 1.0,
}
SOURCE = (
    "Trained by Durian (training/pretrain/image) on pictures made by formula, the font in Pillow and the two "
    "photographs in scikit-learn."
)


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
        preprocess=ImagePreprocess(width=SIDE, height=SIDE, reducing_gap=REDUCING_GAP),
        input="image",
        taps=tuple(sorted(taps, key=lambda tap: tap.depth)),
        default_tap="embedding",
        parameters=sum(weights.numel() for weights in [*model.parameters(), *model.patches.buffers()]),
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
    _texture(g, model.patches, x, out="texture")
    _gradients(g, x, out="gradients")
    _code(g, model, maps[-1])
    _embedding(g, model, x, maps[2])
    outputs: dict[str, Dims] = {name: ("N", dim) for name, dim in dims.items()}
    return g.to_bytes("durian-small", {"image": (UINT8, ("N", SIDE, SIDE, 3))}, outputs)


def _maps(g: GraphWriter, model: Durian, x: str) -> list[str]:
    level = g.node("Sub", g.node("Mul", x, g.scalar(4.0)), g.scalar(2.0))
    found = [g.node("Relu", _unit(g, "stem", model.encoder.stem, level))]
    for number, stage in enumerate(model.encoder.stages, 1):
        found.append(_stage(g, f"stage_{number}", cast(Stage, stage), found[-1]))
    return found


def _stage(g: GraphWriter, name: str, stage: Stage, x: str) -> str:
    x = g.node("Relu", _unit(g, f"{name}_down", stage.down, x))
    inner = g.node("Relu", _unit(g, f"{name}_first", stage.first, x))
    return g.node("Relu", g.node("Add", x, _unit(g, f"{name}_second", stage.second, inner)))


def _unit(g: GraphWriter, name: str, unit: Unit, x: str) -> str:
    """Convolution with the normalisation that follows folded in."""
    weight, bias = unit.folded()
    pad, stride = weight.shape[-1] // 2, cast(nn.Conv2d, unit[0]).stride[0]
    constants = _constant(g, f"{name}_weight", weight), _constant(g, f"{name}_bias", bias)
    return g.node("Conv", x, *constants, strides=[stride] * 2, pads=[pad] * 4)


def _statistics(g: GraphWriter, name: str, maps: str) -> None:
    """The taps NAME (mean over space) and NAME_stat (mean and standard deviation)."""
    mean = g.node("ReduceMean", maps, axes=[2, 3], keepdims=1)
    g.node("Flatten", mean, axis=1, out=name)
    off = g.node("Sub", maps, mean)
    variance = g.node("ReduceMean", g.node("Mul", off, off), axes=[2, 3], keepdims=0)
    deviation = g.node("Sqrt", g.node("Add", variance, g.scalar(SPREAD)))
    g.node("Concat", name, deviation, axis=1, out=f"{name}_stat")


def _texture(g: GraphWriter, patches: Patches, x: str, out: str | None = None) -> str:
    """As `Patches.forward`."""
    small = _halved(g, x)
    mean = _local_mean(g, small)
    variance = g.node("Sub", _local_mean(g, _square(g, small)), _square(g, mean))
    deviation = g.node("Sqrt", g.node("Add", g.node("Relu", variance), g.scalar(CONTRAST)))
    products = g.node("Div", g.node("Conv", small, _constant(g, "atoms", patches.filters)), deviation)
    above = g.node("Sub", products, _constant(g, "atom_offsets", patches.offsets[:, None, None]))
    both = g.node("Concat", above, g.node("Neg", above), axis=1)
    active = g.node("Relu", g.node("Sub", both, g.scalar(THRESHOLD)))
    quarters = g.node("AveragePool", active, kernel_shape=[14, 14], strides=[13, 13])
    return _hellinger(g, quarters, out)


def _gradients(g: GraphWriter, x: str, out: str | None = None) -> str:
    """As `gradients.gradients`: differences and projections are convolutions of each colour by itself."""
    small = g.node("Reshape", _halved(g, x), g.ints(-1, 1, SIDE // 2, SIDE // 2))  # colours join the batch
    steps = [g.node("Conv", small, _difference(g, axis), pads=pads) for axis, pads in _AXES]
    # Where a border has no neighbour on one side, there is no gradient along that axis.
    across, down = (g.node("Mul", step, _inside(g, axis)) for axis, step in enumerate(steps))
    length = g.node(
        "Sqrt", g.node("Add", g.node("Add", _square(g, across), _square(g, down)), g.scalar(FAINT**2))
    )
    cosine = g.node("Sub", _square(g, across), _square(g, down))
    sine = g.node("Mul", g.node("Mul", across, down), g.scalar(2.0))
    doubled = g.node("Div", g.node("Concat", cosine, sine, axis=1), length)
    towards = g.constant("directions", directions()[..., None, None])
    votes = g.node("Relu", g.node("Conv", doubled, towards))
    shape = g.ints(-1, 3, DIRECTIONS, SIDE // 2, SIDE // 2)
    summed = g.node("ReduceSum", g.node("Reshape", votes, shape), g.ints(1), keepdims=0)
    cells = g.node("AveragePool", summed, kernel_shape=[CELL] * 2, strides=[STRIDE] * 2)
    calmed = g.node("Add", g.node("ReduceL2", cells, axes=[1], keepdims=1), g.scalar(CALM))
    flat = g.node("Flatten", g.node("Div", cells, calmed), axis=1)
    norm = g.node("Max", g.node("ReduceL2", flat, axes=[1], keepdims=1), g.scalar(FAINT))
    return g.node("Div", flat, norm, out=out)


_AXES = ((0, [0, 1, 0, 1]), (1, [1, 0, 1, 0]))


def _difference(g: GraphWriter, axis: int) -> str:
    """The kernel of x[i + 1] - x[i - 1]: axis 0 across, 1 down."""
    kernel = np.array([-1, 0, 1], np.float32)
    return g.constant(f"difference_{axis}", kernel.reshape((1, 1, 1, 3) if axis == 0 else (1, 1, 3, 1)))


def _inside(g: GraphWriter, axis: int) -> str:
    mask = np.ones(SIDE // 2, np.float32)
    mask[[0, -1]] = 0
    return g.constant(f"inside_{axis}", mask.reshape((1, 1, 1, -1) if axis == 0 else (1, 1, -1, 1)))


def _halved(g: GraphWriter, x: str) -> str:
    return g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])


def _square(g: GraphWriter, x: str) -> str:
    return g.node("Mul", x, x)


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


def _embedding(g: GraphWriter, model: Durian, x: str, middle: str) -> None:
    """As `Durian._embedding`."""
    constants = _constant(g, "gate_weight", model.gate.weight), _constant(g, "gate_bias", model.gate.bias)
    drawing = g.node("Sigmoid", g.node("Gemm", "stage_3", *constants, transB=1))
    mirrored = g.node("Mul", g.node("Sub", g.scalar(1.0), drawing), _half_where_coloured(g, x))
    mirror = g.node("Slice", x, g.ints(-1), g.ints(-SIDE - 1), g.ints(3), g.ints(-1))
    weight = g.node("Add", g.node("Mul", drawing, g.scalar(1 - LEAST)), g.scalar(LEAST))
    gradients = _mixed(g, "gradients", _gradients(g, mirror), mirrored)
    quarters = _hellinger(g, g.node("AveragePool", middle, kernel_shape=[4, 4], strides=[4, 4]))
    g.node(
        "Concat",
        g.node("Mul", "code", weight),
        _mixed(g, "texture", _texture(g, model.patches, mirror), mirrored),
        g.node("Mul", gradients, g.scalar(GRADIENTS)),
        g.node("Mul", quarters, g.scalar(QUARTERS)),
        axis=1,
        out="embedding",
    )


def _half_where_coloured(g: GraphWriter, x: str) -> str:
    """[N, 1]: 0 for grey pictures up to 0.5 for coloured ones."""
    extent = g.node(
        "Sub", g.node("ReduceMax", x, axes=[1], keepdims=1), g.node("ReduceMin", x, axes=[1], keepdims=1)
    )
    colours = g.node("Flatten", g.node("ReduceMean", extent, axes=[2, 3], keepdims=1), axis=1)
    return g.node("Min", g.node("Mul", colours, g.scalar(0.5 / COLOURFUL)), g.scalar(0.5))


def _mixed(g: GraphWriter, first: str, second: str, share: str) -> str:
    """first + share * (second - first)."""
    return g.node("Add", first, g.node("Mul", share, g.node("Sub", second, first)))


def _constant(g: GraphWriter, name: str, values: Tensor) -> str:
    return g.constant(name, values.detach().numpy().astype(np.float32))
