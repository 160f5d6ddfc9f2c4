"""A sum of heads as one head: what is affine becomes one product, the rest one graph beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, AffineHead, Head, Scores, build_graph


@dataclass(frozen=True, eq=False)
class PooledHead:
    """The sum of the logits of its parts."""

    parts: tuple[Head, ...]

    @property
    def activation(self) -> Activation:
        return self.parts[0].activation

    def logits(self, X: NDArray[Any]) -> Scores:
        return np.asarray(sum(part.logits(X) for part in self.parts))

    def scaled(self, factor: float) -> PooledHead:
        return PooledHead(tuple(part.scaled(factor) for part in self.parts))

    def lifted(self, frame: Frame) -> PooledHead:
        return PooledHead(tuple(part.lifted(frame) for part in self.parts))

    def finite(self) -> bool:
        return all(part.finite() for part in self.parts)

    def record(self) -> HeadRecord:
        return self.parts[0].record().model_copy(update={"kind": "graph"})

    def to_onnx(self) -> bytes:
        nodes: list[Any] = []
        constants: dict[str, NDArray[Any]] = {}
        for number, part in enumerate(self.parts):
            more, named = _body(part.to_onnx(), f"part_{number}.")
            nodes += more
            constants |= named
        outputs = [f"part_{number}.logits" for number in range(len(self.parts))]
        return build_graph([*nodes, helper.make_node("Sum", outputs, ["logits"])], constants, self.record())


def pool_heads(heads: Sequence[Head]) -> Head:
    """The heads' sum: one affine head where all are affine, else one graph."""
    affine = [head for head in heads if isinstance(head, AffineHead)]
    others = [head for head in heads if not isinstance(head, AffineHead)]
    if affine:
        weight, bias = sum(head.weight for head in affine), sum(head.bias for head in affine)
        others = [AffineHead(np.asarray(weight), np.asarray(bias), affine[0].activation), *others]
    return others[0] if len(others) == 1 else PooledHead(tuple(others))


def _body(graph: bytes, prefix: str) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """A head's nodes up to its logits, and its constants, all names but `features` prefixed."""
    model = onnx.load_model_from_string(graph).graph
    nodes = list(model.node)[:-1]  # the last is the activation
    for node in nodes:
        node.name = ""
        node.input[:] = [name if name == "features" else prefix + name for name in node.input]
        node.output[:] = [prefix + name for name in node.output]
    return nodes, {prefix + tensor.name: numpy_helper.to_array(tensor) for tensor in model.initializer}
