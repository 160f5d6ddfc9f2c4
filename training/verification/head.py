"""The head that compares with stored references."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, Scores, all_finite, build_graph

Array = NDArray[np.float64]
_TINY = 1e-12
_CHUNK = 256  # queries at a time: bounds the memory of the similarities


@dataclass(frozen=True, eq=False)
class ReferenceHead:
    """factor * max over the references r of class c of cos(W x + b, r), + shift.

    `weight` [H, D] and `bias` [H] are the twin that both sides go through; `references` [m, H] are what came
    out of it for the stored examples, of length one at most, and `owner` int64 [m] their classes, of which
    none is empty.
    """

    weight: Array
    bias: Array
    references: Array
    owner: NDArray[np.int64]
    factor: float
    shift: float = 0.0
    activation: Activation = "softmax"

    def logits(self, X: NDArray[Any]) -> Scores:
        parts = [self._similarities(X[i : i + _CHUNK]) for i in range(0, len(X), _CHUNK)]
        found = np.concatenate(parts) if parts else np.empty((0, len(self._places)))
        return np.asarray(self.factor * found + self.shift)

    def _similarities(self, X: NDArray[Any]) -> Array:
        """Cosine of each row and its nearest reference of each class, [n, C]."""
        nearness = directions(X @ self.weight.T + self.bias) @ self.references.T
        return np.asarray(nearness[:, self._places].max(axis=2))

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Row numbers [C, k] of the references of each class; the first fills up where there are fewer."""
        rows = [np.flatnonzero(self.owner == c) for c in range(int(self.owner.max()) + 1)]
        most = max(map(len, rows))
        return np.stack([np.pad(own, (0, most - len(own)), constant_values=own[0]) for own in rows])

    def scaled(self, factor: float) -> ReferenceHead:
        return replace(self, factor=self.factor * factor, shift=self.shift * factor)

    def lifted(self, frame: Frame) -> ReferenceHead:
        weight = frame.lift(self.weight) / frame.scale
        return replace(self, weight=weight, bias=self.bias - weight @ frame.mean)

    def finite(self) -> bool:
        return all_finite(self.weight, self.bias, self.references, np.array([self.factor, self.shift]))

    def record(self) -> HeadRecord:
        dim, classes = self.weight.shape[1], len(self._places)
        return HeadRecord(kind="graph", activation=self.activation, in_dim=dim, out_dim=classes)

    def to_onnx(self) -> bytes:
        constants: dict[str, NDArray[Any]] = {
            "twin": self.weight,
            "offset": self.bias,
            "references": self.references,
            "places": self._places,
            "tiny": np.array(_TINY),
            "axis": np.array([1], np.int64),
            "factor": np.array(self.factor),
            "shift": np.array(self.shift),
        }
        return build_graph(_nodes(), constants, self.record())


def directions(rows: NDArray[Any]) -> Array:
    """Rows brought to length one; those of no length stay near zero."""
    return np.asarray(rows / np.sqrt((rows**2).sum(axis=1, keepdims=True) + _TINY), np.float64)


def _nodes() -> list[Any]:
    return [
        helper.make_node("Gemm", ["features", "twin", "offset"], ["mapped"], transB=1),
        helper.make_node("Mul", ["mapped", "mapped"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "axis"], ["power"], keepdims=1),
        helper.make_node("Add", ["power", "tiny"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["length"]),
        helper.make_node("Div", ["mapped", "length"], ["direction"]),
        helper.make_node("Gemm", ["direction", "references"], ["nearness"], transB=1),
        helper.make_node("Gather", ["nearness", "places"], ["by_class"], axis=1),
        helper.make_node("ReduceMax", ["by_class"], ["nearest"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["nearest", "factor"], ["sharp"]),
        helper.make_node("Add", ["sharp", "shift"], ["logits"]),
    ]
