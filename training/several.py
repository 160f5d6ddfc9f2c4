"""Heads side by side: one model that answers several things, exported as one graph with one output.

Each head's activation is done inside; equal numbers and equal steps of the graphs are kept once, so that
heads which share most of their work, as two readings of one comparison do, cost it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.manifest import Head as HeadRecord
from models.manifest import Output
from training.frame import Frame
from training.heads import Activation, Head, Scores, build_graph, scores

Part = tuple[slice, Activation]


@dataclass(frozen=True, eq=False)
class Answer:
    """Something that a model answers beside its own task.

    `head` takes raw features at the model's tap; None where the model's graph holds it already.
    """

    output: Output
    head: Head | None = None


@dataclass(frozen=True, eq=False)
class SeveralHeads:
    """`logits` are the answers of all heads in a row, their activations done: [n, C1 + C2 + ...]."""

    heads: Sequence[Head]
    activation: Activation = "identity"

    @property
    def parts(self) -> list[Part]:
        """The columns of each head's answers, and what made them."""
        return parts([(head.activation, head.record().out_dim) for head in self.heads])

    def logits(self, X: NDArray[Any]) -> Scores:
        return np.concatenate([scores(head, X) for head in self.heads], axis=1)

    def scaled(self, factor: float) -> SeveralHeads:
        return replace(self, heads=[head.scaled(factor) for head in self.heads])

    def lifted(self, frame: Frame) -> SeveralHeads:
        return replace(self, heads=[head.lifted(frame) for head in self.heads])

    def finite(self) -> bool:
        return all(head.finite() for head in self.heads)

    def record(self) -> HeadRecord:
        records = [head.record() for head in self.heads]
        width = sum(record.out_dim for record in records)
        return HeadRecord(kind="graph", activation="identity", in_dim=records[0].in_dim, out_dim=width)

    def to_onnx(self) -> bytes:
        merged = _Merged()
        outputs = [merged.add(onnx.load_model_from_string(head.to_onnx()).graph) for head in self.heads]
        nodes = [*merged.nodes, helper.make_node("Concat", outputs, ["logits"], axis=1)]
        return build_graph(nodes, merged.constants, self.record())


def parts(widths: Sequence[tuple[Activation, int]]) -> list[Part]:
    """Columns that lie side by side, so many for each activation."""
    ends = accumulate((width for _, width in widths), initial=0)
    return [(slice(a, b), kind) for (a, b), (kind, _) in zip(pairwise(ends), widths, strict=True)]


def parts_of(head: Head) -> list[Part]:
    """The parts of a head that answers several things, or its only one."""
    return head.parts if isinstance(head, SeveralHeads) else [(slice(None), head.activation)]


@dataclass
class _Merged:
    """Graphs over the same `features`, in one name space. What is equal gets one name."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    _known: dict[Any, list[str]] = field(default_factory=dict)

    def add(self, graph: Any) -> str:
        """The name of the graph's only output here."""
        names = {"": "", "features": "features"}
        for tensor in graph.initializer:
            names[tensor.name] = self._constant(numpy_helper.to_array(tensor))
        for node in graph.node:
            inputs = [names[name] for name in node.input]
            names.update(zip(node.output, self._node(node, inputs), strict=True))
        return names[graph.output[0].name]

    def _constant(self, array: NDArray[Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = [f"number_{len(self.constants)}"]
            self.constants[self._known[key][0]] = array
        return self._known[key][0]

    def _node(self, node: Any, inputs: list[str]) -> list[str]:
        attributes = tuple(sorted(one.SerializeToString(deterministic=True) for one in node.attribute))
        key = (node.op_type, tuple(inputs), attributes)
        if key not in self._known:
            outputs = [f"step_{len(self.nodes)}_{place}" for place in range(len(node.output))]
            same = onnx.NodeProto(op_type=node.op_type, input=inputs, output=outputs)
            same.attribute.extend(node.attribute)
            self.nodes.append(same)
            self._known[key] = outputs
        return self._known[key]
