"""The one-nearest-neighbour rule as an affine map and a maximum: the classifier of published protocols.

|x - s|^2 falls with 2 s.x - |s|^2, whose |x|^2 is common to all, so the similarity to every stored example
is affine in x; a class is as near as its nearest example, and its logit is that similarity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.manifest import Head as HeadRecord
from training.calibrate import temperature
from training.frame import Frame
from training.heads import Activation, Scores, all_finite, build_graph
from training.methods.base import Problem

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NearestHead:
    """Class c's logit is the greatest of (x - offset) @ keys[j] + shift[j] over its members j.

    `keys` [n, D], `shift` [n], `offset` [D]; `members` int64 [C, k] numbers each class's examples, the
    first repeated to fill the row.
    """

    offset: Array
    keys: Array
    shift: Array
    members: NDArray[np.int64]
    activation: Activation = "softmax"

    def logits(self, X: NDArray[Any]) -> Scores:
        similarity = (np.asarray(X, np.float64) - self.offset) @ self.keys.T + self.shift
        return np.asarray(similarity[:, self.members].max(axis=2))

    def scaled(self, factor: float) -> NearestHead:
        return replace(self, keys=self.keys * factor, shift=self.shift * factor)

    def lifted(self, frame: Frame) -> NearestHead:
        keys = frame.lift(self.keys) / frame.scale
        offset = frame.mean + frame.scale * frame.lift(self.offset[None])[0]
        return replace(self, offset=offset, keys=keys)

    def finite(self) -> bool:
        return all_finite(self.offset, self.keys, self.shift)

    def record(self) -> HeadRecord:
        return HeadRecord(
            kind="graph",
            activation=self.activation,
            in_dim=self.keys.shape[1],
            out_dim=len(self.members),
        )

    def to_onnx(self) -> bytes:
        nodes = [
            helper.make_node("Sub", ["features", "offset"], ["centred"]),
            helper.make_node("Gemm", ["centred", "keys", "shift"], ["similarity"], transB=1),
            helper.make_node("Gather", ["similarity", "members"], ["by_class"], axis=1),
            helper.make_node("ReduceMax", ["by_class"], ["logits"], axes=[2], keepdims=0),
        ]
        constants: dict[str, NDArray[Any]] = {
            "offset": self.offset,
            "keys": self.keys,
            "shift": self.shift,
            "members": self.members,
        }
        return build_graph(nodes, constants, self.record())


def nearest_head(problem: Problem, view: Array | None = None) -> NearestHead:
    """The rule over a classification problem's rows, distances taken in the coordinates `view` [D, r].

    Its sharpness is fitted to each row's similarities to the others, as for other heads by leave-one-out.
    """
    X = np.asarray(problem.X, np.float64)
    seen = X if view is None else X @ view
    keys = 2 * (seen if view is None else seen @ view.T)
    members = _members(np.asarray(problem.y), len(problem.labels))
    head = NearestHead(np.zeros(X.shape[1]), keys, -(seen**2).sum(axis=1), members)
    return head.scaled(_sharpness(head, problem))


def _members(y: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """int64 [C, k]; a class without an example would be as near as row 0, so every class must have one."""
    rows = [np.flatnonzero(y == c) for c in range(classes)]
    most = max(len(row) for row in rows)
    return np.stack([np.concatenate([row, np.full(most - len(row), row[0])]) for row in rows])


def _sharpness(head: NearestHead, problem: Problem) -> float:
    """The factor that makes leave-one-out similarities into log-odds; 1 where nothing can be left out."""
    similarity = np.asarray(problem.X, np.float64) @ head.keys.T + head.shift
    np.fill_diagonal(similarity, -np.inf)
    left_out = similarity[:, head.members].max(axis=2)
    usable = np.isfinite(left_out).all(axis=1)
    return (
        temperature("softmax", left_out[usable], problem.targets[usable], prior=0.0) if usable.any() else 1.0
    )
