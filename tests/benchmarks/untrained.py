"""A small convolutional network with random weights, as a backbone that knows nothing of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.backbone import GRAPH, BackboneCard, ImagePreprocess, Tap, write_backbone
from models.base import sha256
from models.fitspec import BackboneChoice

_KERNELS = {"low": (3, 16, 5), "middle": (16, 32, 3), "high": (32, 48, 3)}  # channels in, out, side
_UNITS = 96


def write_untrained(folder: Path, side: int, seed: int) -> BackboneChoice:
    """Three convolutions, two of them pooled, and a layer of 96 units, for pictures of `side` x `side`."""
    weights = _weights(side, seed)
    data = _graph(weights, side)
    card = BackboneCard(
        id="image/untrained",
        modality="image",
        preprocess=ImagePreprocess(
            width=side, height=side, layout="NCHW", dtype="float32", scale=1 / 255, mean=(0.5, 0.5, 0.5)
        ),
        input="x",
        taps=(
            *(Tap(name=f"{name}_mean", dim=out, depth=0.2) for name, (_, out, _) in _KERNELS.items()),
            Tap(name="top", dim=_UNITS, depth=1.0),
        ),
        default_tap="top",
        parameters=sum(array.size for array in weights.values()),
        licence="none",
        source="random weights",
        files={GRAPH: sha256(data)},
    )
    write_backbone(folder, card, {GRAPH: data})
    return BackboneChoice(id=card.id, digest=card.digest, folder=str(folder), taps=("top",))


def _weights(side: int, seed: int) -> dict[str, NDArray[Any]]:
    """He initialisation; biases are zero."""
    rng, found = np.random.default_rng(seed), dict[str, NDArray[Any]]()
    shapes = {name: (out, into, k, k) for name, (into, out, k) in _KERNELS.items()}
    widest = _KERNELS["high"][1] * (side // 4) ** 2
    for name, shape in {**shapes, "top": (_UNITS, widest)}.items():
        spread = np.sqrt(2 / np.prod(shape[1:]))
        found[f"{name}_weight"] = (spread * rng.standard_normal(shape)).astype(np.float32)
        found[f"{name}_bias"] = np.zeros(shape[0], np.float32)
    return found


def _graph(weights: dict[str, NDArray[Any]], side: int) -> bytes:
    nodes, before = [], "x"
    for name, (_, _, k) in _KERNELS.items():
        given = [before, f"{name}_weight", f"{name}_bias"]
        nodes.append(helper.make_node("Conv", given, [f"{name}_linear"], pads=[k // 2] * 4))
        nodes.append(helper.make_node("Relu", [f"{name}_linear"], [name]))
        nodes.append(helper.make_node("ReduceMean", [name], [f"{name}_mean"], axes=[2, 3], keepdims=0))
        before = name
        if name != "high":
            before = f"{name}_pooled"
            nodes.append(helper.make_node("MaxPool", [name], [before], kernel_shape=[2, 2], strides=[2, 2]))
    nodes.append(helper.make_node("Flatten", [before], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "top_weight", "top_bias"], ["top_linear"], transB=1))
    nodes.append(helper.make_node("Relu", ["top_linear"], ["top"]))
    value = helper.make_tensor_value_info
    widths = {f"{name}_mean": out for name, (_, out, _) in _KERNELS.items()} | {"top": _UNITS}
    made = helper.make_graph(
        nodes,
        "untrained",
        [value("x", TensorProto.FLOAT, ["n", 3, side, side])],
        [value(name, TensorProto.FLOAT, ["n", width]) for name, width in widths.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
