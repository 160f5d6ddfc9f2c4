"""k nearest neighbours with distance-weighted votes (Dudani 1976): the declared baseline.

The nearest neighbour's vote weighs about 1, the (k+1)-th's 0: w_j = (s_j - s_k+1) / (s_1 - s_k+1 + e) for
similarities s, so that an example crossing the border of the neighbourhood changes nothing abruptly, and
ties need no rule. The votes are smoothed by one pseudo-neighbour that votes as the whole set does.
Cosine similarity is taken after centring (SimpleShot, Wang et al. 2019); euclidean is -|z - z_j|^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from pydantic import Field

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, Scores, all_finite, build_graph
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register

Array = NDArray[np.float64]
Metric = Literal["cosine", "euclidean"]
_NEIGHBOURS = (5, 1, 15)
_CHUNK = 256  # queries at a time: bounds the memory of similarities and votes
_SOFTENING = 0.01  # e above, on similarities of order 1
_TINY = 1e-12
_SMOOTHING: dict[Activation, float] = {"softmax": 1.0, "sigmoid": 1.0, "identity": 0.01}


class KnnHyperparameters(Hyperparameters):
    neighbours: Auto | int = Field(default="auto", ge=1, le=1000)
    metric: Auto | Metric = "auto"

    def grid(self, problem: Problem) -> list[Setting]:
        ks = _NEIGHBOURS if self.neighbours == "auto" else (self.neighbours,)
        metrics: tuple[Metric, ...] = ("cosine", "euclidean") if self.metric == "auto" else (self.metric,)
        usable = [k for k in ks if k <= max(1, len(problem) // 2)] or [min(ks)]
        return [{"neighbours": k, "metric": metric} for metric in metrics for k in usable]


@dataclass(frozen=True, eq=False)
class NeighbourHead:
    """The stored examples and their votes.

    `support` [n, D] is relative to `offset` [D] and in units of `scale` (one number or [D]);
    `targets` [n, C]; `prior` [C].
    """

    offset: Array
    scale: float | Array
    support: Array
    targets: Array
    prior: Array
    neighbours: int
    metric: Metric
    activation: Activation
    factor: float = 1.0

    def logits(self, X: NDArray[Any]) -> Scores:
        """log p (softmax), log odds (sigmoid) or the mean itself (identity), times `factor`."""
        parts = [self._link(self._means(X[i : i + _CHUNK])) for i in range(0, len(X), _CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, self.targets.shape[1]))

    def _means(self, X: NDArray[Any]) -> Array:
        """Smoothed weighted mean [n, C] of the neighbours' targets."""
        similarity = self._queries(X) @ self._keys().T + self._shift()
        order = np.argpartition(-similarity, self._k, axis=1)[:, : self._k + 1]
        near = np.take_along_axis(similarity, order, axis=1)
        furthest = near.min(axis=1, keepdims=True)
        weights = (near - furthest) / (near.max(axis=1, keepdims=True) - furthest + _SOFTENING)
        smoothing = _SMOOTHING[self.activation]
        votes = (weights[:, None] @ self.targets[order])[:, 0] + smoothing * self.prior
        return np.asarray(votes / (weights.sum(axis=1, keepdims=True) + smoothing))

    def scaled(self, factor: float) -> NeighbourHead:
        return replace(self, factor=self.factor * factor)

    def lifted(self, frame: Frame) -> NeighbourHead:
        return replace(
            self,
            offset=frame.mean + frame.scale * frame.lift(self.offset[None])[0],
            scale=self.scale * frame.scale,
            support=frame.lift(self.support),
        )

    def finite(self) -> bool:
        return all_finite(self.offset, self.support, self.targets, self.prior, np.array([1 / self.scale]))

    def record(self) -> HeadRecord:
        return HeadRecord(
            kind="graph",
            activation=self.activation,
            in_dim=self.support.shape[1],
            out_dim=self.targets.shape[1],
        )

    def to_onnx(self) -> bytes:
        smoothing = _SMOOTHING[self.activation]
        constants: dict[str, NDArray[Any]] = {
            "offset": self.offset,
            "unit": np.array(1 / self.scale),
            "keys": self._keys().T,
            "shift": self._shift(),
            "targets": self.targets,
            "prior": smoothing * self.prior,
            "smoothing": np.array(smoothing),
            "softening": np.array(_SOFTENING),
            "factor": np.array(self.factor),
            "one": np.array(1.0),
            "tiny": np.array(_TINY),
            "zero": np.array([0], np.int64),
            "axis": np.array([1], np.int64),
            "last": np.array([self._k], np.int64),
            "all": np.array([self._k + 1], np.int64),
        }
        nodes = [*_query_nodes(self.metric), *_vote_nodes(), *_link_nodes(self.activation)]
        used = {name for node in nodes for name in node.input}
        return build_graph(nodes, {k: v for k, v in constants.items() if k in used}, self.record())

    @property
    def _k(self) -> int:
        """Neighbours that vote; the one after them sets the zero."""
        return min(self.neighbours, len(self.support) - 1)

    def _queries(self, X: NDArray[Any]) -> Array:
        queries = (np.asarray(X, np.float64) - self.offset) / self.scale
        return _normalised(queries) if self.metric == "cosine" else queries

    def _keys(self) -> Array:
        return _normalised(self.support) if self.metric == "cosine" else 2 * self.support

    def _shift(self) -> Array:
        """|z|^2 is common to all similarities of a query and left out."""
        lengths: Array = (self.support**2).sum(axis=1)
        return -lengths if self.metric == "euclidean" else 0 * lengths

    def _link(self, means: Array) -> Scores:
        if self.activation == "identity":
            return self.factor * means
        below = 0.0 if self.activation == "softmax" else np.log(np.maximum(1 - means, _TINY))
        return np.asarray(self.factor * (np.log(np.maximum(means, _TINY)) - below))


def _normalised(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY))


def _nodes(*lines: tuple[str, str, str], **attributes: Any) -> list[Any]:
    """(operator, inputs, outputs) with names parted by spaces -> ONNX nodes."""
    return [helper.make_node(op, ins.split(), outs.split(), **attributes) for op, ins, outs in lines]


def _query_nodes(metric: Metric) -> list[Any]:
    centred = _nodes(("Sub", "features offset", "centred"), ("Mul", "centred unit", "coordinates"))
    if metric == "euclidean":
        return [*centred, *_nodes(("Identity", "coordinates", "queries"))]
    return [
        *centred,
        *_nodes(("ReduceL2", "coordinates", "length"), axes=[1], keepdims=1),
        *_nodes(("Max", "length tiny", "safe_length"), ("Div", "coordinates safe_length", "queries")),
    ]


def _vote_nodes() -> list[Any]:
    return [
        *_nodes(("MatMul", "queries keys", "products"), ("Add", "products shift", "similarity")),
        *_nodes(("TopK", "similarity all", "near order"), axis=1, largest=1, sorted=1),
        *_nodes(
            ("Slice", "near zero axis axis", "nearest"),
            ("Slice", "near last all axis", "furthest"),
            ("Sub", "nearest furthest", "range"),
            ("Add", "range softening", "reach"),
            ("Sub", "near furthest", "above"),
            ("Div", "above reach", "weights"),
            ("Unsqueeze", "weights axis", "row_weights"),
        ),
        *_nodes(("Gather", "targets order", "neighbours"), axis=0),
        *_nodes(
            ("MatMul", "row_weights neighbours", "row_votes"),
            ("Squeeze", "row_votes axis", "votes"),
            ("Add", "votes prior", "smoothed"),
        ),
        *_nodes(("ReduceSum", "weights axis", "total"), keepdims=1),
        *_nodes(("Add", "total smoothing", "mass"), ("Div", "smoothed mass", "means")),
    ]


def _link_nodes(activation: Activation) -> list[Any]:
    if activation == "identity":
        return _nodes(("Mul", "means factor", "logits"))
    odds = _nodes(("Max", "means tiny", "safe"), ("Log", "safe", "log_mean"))
    if activation == "softmax":
        return [*odds, *_nodes(("Mul", "log_mean factor", "logits"))]
    return [
        *odds,
        *_nodes(
            ("Sub", "one means", "rest"),
            ("Max", "rest tiny", "safe_rest"),
            ("Log", "safe_rest", "log_rest"),
            ("Sub", "log_mean log_rest", "log_odds"),
            ("Mul", "log_odds factor", "logits"),
        ),
    ]


class Knn:
    info = MethodInfo(
        name="knn",
        title="k nearest neighbours with distance-weighted votes",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Dudani 1976, distance-weighted k-nearest-neighbor rule; centring: Wang et al. 2019",
        hyperparameters=KnnHyperparameters,
        baseline=True,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        return [Fitted(_remember(problem, setting), setting) for setting in grid]


def _remember(problem: Problem, setting: Setting) -> NeighbourHead:
    targets = problem.targets
    return NeighbourHead(
        offset=np.zeros(problem.X.shape[1]),
        scale=1.0,
        support=problem.X.astype(np.float64),
        targets=targets,
        prior=targets.mean(axis=0),
        neighbours=int(setting["neighbours"]),  # type: ignore[arg-type]
        metric=setting["metric"],  # type: ignore[arg-type]
        activation=problem.activation,
    )


register(Knn())
