"""Heads that compare with stored examples through a kernel: exp(-gamma |z - z_j|^2), and a linear part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, Scores, all_finite, build_graph

Array = NDArray[np.float64]
MOST_SUPPORTS = 2000  # stored examples a head may carry
_CHUNK = 512  # queries at a time: bounds the memory of the distances
_MEDIAN_ROWS = 500


def squared_distances(A: NDArray[Any], B: NDArray[Any]) -> Array:
    """float64 [n, m] of rows [n, r] and [m, r]."""
    A, B = np.asarray(A, np.float64), np.asarray(B, np.float64)
    lengths = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2 * A @ B.T, 0))


def median_distance(distances: Array) -> float:
    """The median of the squared distances between different rows: the kernel's natural unit."""
    part = distances[:_MEDIAN_ROWS, :_MEDIAN_ROWS]
    different = part[np.triu_indices(len(part), 1)]
    return (float(np.median(different)) or 1.0) if len(different) else 1.0


def draw_supports(n: int, seed: int) -> NDArray[np.int64]:
    """All of n rows, or a seeded draw of as many as a head may carry."""
    if n <= MOST_SUPPORTS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:MOST_SUPPORTS])


@dataclass(frozen=True, eq=False)
class KernelHead:
    """exp(-gamma |z - support|^2) @ dual + z @ weight.T + bias, in the coordinates z of a frame.

    `support` [n, r], `dual` [n, C], `weight` [C, r], `bias` [C]. The head carries the frame: what
    lies outside the span of the examples does not count as distance, here or in the graph.
    """

    support: Array
    gamma: float
    dual: Array
    weight: Array
    bias: Array
    activation: Activation
    frame: Frame | None = None

    def logits(self, X: NDArray[Any]) -> Scores:
        Z = X if self.frame is None else self.frame.enter(X)
        parts = [self._answer(Z[i : i + _CHUNK]) for i in range(0, len(Z), _CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.bias)))

    def _answer(self, Z: NDArray[Any]) -> Scores:
        near = np.exp(-self.gamma * squared_distances(Z, self.support))
        return np.asarray(near @ self.dual + Z @ self.weight.T + self.bias)

    def scaled(self, factor: float) -> KernelHead:
        return replace(self, dual=self.dual * factor, weight=self.weight * factor, bias=self.bias * factor)

    def lifted(self, frame: Frame) -> KernelHead:
        return replace(self, frame=frame)

    def finite(self) -> bool:
        return all_finite(self.support, self.dual, self.weight, self.bias, np.array([self.gamma]))

    def record(self) -> HeadRecord:
        dim = self.support.shape[1] if self.frame is None else len(self.frame.mean)
        return HeadRecord(kind="graph", activation=self.activation, in_dim=dim, out_dim=len(self.bias))

    def to_onnx(self) -> bytes:
        entering, constants = _enter(self.frame)
        constants |= {
            "keys": 2 * self.gamma * self.support.T,
            "lengths": self.gamma * (self.support**2).sum(axis=1),
            "minus_gamma": np.array([-self.gamma]),
            "dual": self.dual,
            "weight": self.weight,
            "bias": self.bias,
        }
        return build_graph([*entering, *_similarity(), *_sum()], constants, self.record())


def _enter(frame: Frame | None) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Features -> `z`, the coordinates in the frame."""
    if frame is None:
        return [helper.make_node("Identity", ["features"], ["z"])], {}
    axes = np.eye(len(frame.mean)) if frame.axes is None else frame.axes
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "axes"], ["z"]),
    ]
    return nodes, {"mean": frame.mean, "axes": axes / np.reshape(frame.scale, (-1, 1))}


def _similarity() -> list[Any]:
    """exp(2 gamma z.s - gamma |s|^2 - gamma |z|^2); rounding may put the exponent above 0 by a hair."""
    return [
        helper.make_node("MatMul", ["z", "keys"], ["products"]),
        helper.make_node("ReduceSumSquare", ["z"], ["power"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["power", "minus_gamma"], ["own"]),
        helper.make_node("Sub", ["products", "lengths"], ["nearer"]),
        helper.make_node("Add", ["nearer", "own"], ["exponent"]),
        helper.make_node("Exp", ["exponent"], ["near"]),
    ]


def _sum() -> list[Any]:
    return [
        helper.make_node("MatMul", ["near", "dual"], ["votes"]),
        helper.make_node("Gemm", ["z", "weight", "bias"], ["linear"], transB=1),
        helper.make_node("Add", ["votes", "linear"], ["logits"]),
    ]
