"""New layers on fixed features: a column of them, fed from below and, where it has laterals, from the side.

h_1 = relu(W_1 z_1 + b_1),  h_i = relu(W_i h_(i-1) + U_i s_i + b_i),  logits = W_o h + U_o s_o + b_o, where
s_i is relu(V_i z_i + c_i), a lateral connection through an adapter, or z_i itself (Rusu et al. 2016,
equations 2 and 1). Without laterals it is an ordinary perceptron of several layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, Scores, all_finite, build_graph

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Lateral:
    """What the part `part` of the features gives a layer: U s. Without an adapter s is the part itself.

    `weight` U [h, a]; `adapter` V [a, D_part] and `bias` c [a].
    """

    part: int
    weight: Array
    adapter: Array | None = None
    bias: Array | None = None

    def seen(self, parts: Sequence[Array]) -> Array:
        """s [n, a] of the parts [n, D_1], [n, D_2], ..."""
        if self.adapter is None or self.bias is None:
            return parts[self.part]
        return np.maximum(parts[self.part] @ self.adapter.T + self.bias, 0)


@dataclass(frozen=True, eq=False)
class Layer:
    """`weight` [h, below] and `bias` [h]."""

    weight: Array
    bias: Array
    lateral: Lateral | None = None

    def logits(self, below: Array, parts: Sequence[Array]) -> Array:
        """[n, h] before the ReLU."""
        found = below @ self.weight.T + self.bias
        return found if self.lateral is None else found + self.lateral.seen(parts) @ self.lateral.weight.T

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Its numbers, in an order of their own."""
        side = self.lateral
        if side is None:
            return self.weight, self.bias
        if side.adapter is None or side.bias is None:
            return self.weight, self.bias, side.weight
        return self.weight, self.bias, side.weight, side.adapter, side.bias

    def with_arrays(self, arrays: Sequence[Array]) -> Layer:
        """A layer of the same kind with other numbers."""
        weight, bias, *side = arrays
        if self.lateral is None:
            return Layer(weight, bias)
        return Layer(weight, bias, Lateral(self.lateral.part, *side))


@dataclass(frozen=True, eq=False)
class Column:
    """A head of several layers. `widths` are the dimensions of the parts that the features consist of."""

    layers: tuple[Layer, ...]
    widths: tuple[int, ...]
    activation: Activation

    def parts(self, X: Array) -> list[Array]:
        return np.split(X, list(accumulate(self.widths))[:-1], axis=1)

    def logits(self, X: NDArray[Any]) -> Scores:
        parts = self.parts(np.asarray(X, np.float64))
        seen = parts[0]
        for layer in self.layers[:-1]:
            seen = np.maximum(layer.logits(seen, parts), 0)
        return np.asarray(self.layers[-1].logits(seen, parts), np.float64)

    def scaled(self, factor: float) -> Column:
        *below, last = self.layers
        side = None if last.lateral is None else replace(last.lateral, weight=last.lateral.weight * factor)
        return replace(self, layers=(*below, Layer(last.weight * factor, last.bias * factor, side)))

    def shifted(self, offset: NDArray[np.float64]) -> Column:
        """The same with `offset` [C] added to the logits."""
        *below, last = self.layers
        return replace(self, layers=(*below, replace(last, bias=last.bias + offset)))

    def lifted(self, frame: Frame) -> Column:
        """The same head, of one part, taking raw features."""
        return self.entered([frame])

    def entered(self, frames: Sequence[Frame]) -> Column:
        """The same head taking raw features, each part from its own frame."""
        first, *above = (_lifted(layer, frames) for layer in self.layers)
        weight, shift = _into(frames[0], first.weight)
        widths = tuple(len(frame.mean) for frame in frames)
        layers = (replace(first, weight=weight, bias=first.bias - shift), *above)
        return replace(self, layers=layers, widths=widths)

    def finite(self) -> bool:
        return all_finite(*(array for layer in self.layers for array in layer.arrays))

    def record(self) -> HeadRecord:
        classes = len(self.layers[-1].bias)
        return HeadRecord(kind="graph", activation=self.activation, in_dim=sum(self.widths), out_dim=classes)

    def to_onnx(self) -> bytes:
        nodes: list[Any] = []
        constants: dict[str, NDArray[Any]] = {}
        parts = ["features"]
        if len(self.widths) > 1:
            parts = [f"part_{i}" for i in range(len(self.widths))]
            constants["widths"] = np.array(self.widths, np.int64)
            nodes.append(helper.make_node("Split", ["features", "widths"], parts, axis=1))
        below = parts[0]
        for place, layer in enumerate(self.layers):
            made, more, out = _nodes(f"layer_{place}", layer, below, parts)
            nodes, constants = [*nodes, *made], {**constants, **more}
            last = place == len(self.layers) - 1
            below = "logits" if last else f"layer_{place}_relu"
            nodes.append(helper.make_node("Identity" if last else "Relu", [out], [below]))
        return build_graph(nodes, constants, self.record())


def _into(frame: Frame, weight: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows [m, r] on coordinates of a frame as rows [m, D] on raw features, and what they give its mean."""
    raw = frame.lift(weight) / frame.scale
    return raw, raw @ frame.mean


def _lifted(layer: Layer, frames: Sequence[Frame]) -> Layer:
    """A layer whose lateral takes its part raw."""
    side = layer.lateral
    if side is None:
        return layer
    if side.adapter is None or side.bias is None:
        weight, shift = _into(frames[side.part], side.weight)
        return replace(layer, bias=layer.bias - shift, lateral=replace(side, weight=weight))
    adapter, shift = _into(frames[side.part], side.adapter)
    return replace(layer, lateral=replace(side, adapter=adapter, bias=side.bias - shift))


def _nodes(
    name: str, layer: Layer, below: str, parts: Sequence[str]
) -> tuple[list[Any], dict[str, Array], str]:
    """A layer before its ReLU as nodes and their constants; and the name of what it gives."""
    constants = {f"{name}_weight": layer.weight, f"{name}_bias": layer.bias}
    nodes = [_gemm(name, below, name)]
    side = layer.lateral
    if side is None:
        return nodes, constants, name
    seen = parts[side.part]
    if side.adapter is not None and side.bias is not None:
        constants |= {f"{name}_adapter_weight": side.adapter, f"{name}_adapter_bias": side.bias}
        nodes.append(_gemm(f"{name}_adapter", seen, f"{name}_adapter"))
        seen = f"{name}_side"
        nodes.append(helper.make_node("Relu", [f"{name}_adapter"], [seen]))
    constants[f"{name}_lateral_weight"] = side.weight
    nodes.append(helper.make_node("Gemm", [seen, f"{name}_lateral_weight"], [f"{name}_lateral"], transB=1))
    nodes.append(helper.make_node("Add", [name, f"{name}_lateral"], [f"{name}_sum"]))
    return nodes, constants, f"{name}_sum"


def _gemm(name: str, below: str, out: str) -> Any:
    return helper.make_node("Gemm", [below, f"{name}_weight", f"{name}_bias"], [out], transB=1)
