"""The head that compares with class vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, Scores, activate, all_finite, build_graph

Array = NDArray[np.float64]
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class SimilarityHead:
    """factor * cos(g(W x + b), v_c) for class vectors v_c; g is the identity or the softmax.

    `weight` [A, D] and `bias` [A] map features into the space of the class vectors: directly, or as
    probabilities of S seen classes whose vectors `seen` [S, V] are then mixed. `vectors` [K, V] are unit
    rows; `shift` [K] is added to the logits.
    """

    weight: Array
    bias: Array
    vectors: Array
    shift: Array
    seen: Array | None = None
    top: int = 0
    """With `seen`: how many of the most probable classes are mixed; 0 is all."""
    factor: float = 1.0
    activation: Activation = "softmax"

    def logits(self, X: NDArray[Any]) -> Scores:
        found = np.asarray(X @ self.weight.T + self.bias, np.float64)
        if self.seen is not None:
            found = _keep_top(activate("softmax", found), self.top or len(self.seen)) @ self.seen
        lengths = np.sqrt((found**2).sum(axis=1, keepdims=True) + _TINY)
        return np.asarray(self.factor * (found / lengths @ self.vectors.T + self.shift))

    def scaled(self, factor: float) -> SimilarityHead:
        return replace(self, factor=self.factor * factor)

    def lifted(self, frame: Frame) -> SimilarityHead:
        weight = frame.lift(self.weight) / frame.scale
        return replace(self, weight=weight, bias=self.bias - weight @ frame.mean)

    def finite(self) -> bool:
        return all_finite(self.weight, self.bias, self.vectors, self.shift)

    def record(self) -> HeadRecord:
        return HeadRecord(
            kind="graph",
            activation=self.activation,
            in_dim=self.weight.shape[1],
            out_dim=len(self.vectors),
        )

    def to_onnx(self) -> bytes:
        constants: dict[str, NDArray[Any]] = {
            "map": self.weight,
            "offset": self.bias,
            "vectors": self.factor * self.vectors,
            "shift": self.factor * self.shift,
            "tiny": np.array(_TINY),
            "axis": np.array([1], np.int64),
        }
        nodes = [helper.make_node("Gemm", ["features", "map", "offset"], ["mapped"], transB=1)]
        if self.seen is not None:
            nodes += _mixing_nodes()
            constants |= {"seen": self.seen, "top": np.array([self.top or len(self.seen)], np.int64)}
        nodes += _cosine_nodes("mapped" if self.seen is None else "mixed")
        return build_graph(nodes, constants, self.record())


def _keep_top(probabilities: Array, top: int) -> Array:
    """Without the probabilities that are smaller than the `top` largest of their row."""
    least = np.sort(probabilities, axis=1)[:, -top][:, None]
    return np.where(probabilities >= least, probabilities, 0)


def _mixing_nodes() -> list[Any]:
    return [
        helper.make_node("Softmax", ["mapped"], ["probabilities"], axis=1),
        helper.make_node("TopK", ["probabilities", "top"], ["best", "places"], axis=1),
        helper.make_node("ReduceMin", ["best"], ["least"], axes=[1], keepdims=1),
        helper.make_node("GreaterOrEqual", ["probabilities", "least"], ["among"]),
        helper.make_node("Cast", ["among"], ["chosen"], to=1),
        helper.make_node("Mul", ["probabilities", "chosen"], ["kept"]),
        helper.make_node("MatMul", ["kept", "seen"], ["mixed"]),
    ]


def _cosine_nodes(name: str) -> list[Any]:
    return [
        helper.make_node("Mul", [name, name], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "axis"], ["power"], keepdims=1),
        helper.make_node("Add", ["power", "tiny"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["length"]),
        helper.make_node("Div", [name, "length"], ["direction"]),
        helper.make_node("Gemm", ["direction", "vectors", "shift"], ["logits"], transB=1),
    ]
