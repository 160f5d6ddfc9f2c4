"""A trained tail with its head as one ONNX graph: edges -> scores (or value), then `tail_embedding`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

from models.backbone import GRAPH, read_card
from models.cut import cut
from models.errors import JobFailed
from models.fitspec import BackboneChoice
from models.graphs import extract, open_inputs
from models.manifest import Head as HeadRecord
from models.modalities import preprocessor
from models.runtime import open_session
from models.store import verify_files
from training.heads import OPSET, Activation, AffineHead, Head, Scores
from training.several import Part, parts

_ACTIVATION_NODE = {"softmax": "Softmax", "sigmoid": "Sigmoid", "identity": "Identity"}
Layer = tuple[NDArray[np.float64], NDArray[np.float64]]
EMBEDDING = "tail_embedding"
_OLDEST = 13  # version of ONNX that heads can be written in


@dataclass(frozen=True, eq=False)
class Graft:
    """The part of a model above the cut at `tap`. `dim` is D.

    `expected` [n, C] are the scores that training saw for the first examples. `further` are the activation
    and number of the columns, after the task's own, of what else it answers.
    """

    choice: BackboneChoice
    tap: str
    graph: bytes
    activation: Activation
    dim: int
    expected: Scores
    further: tuple[tuple[Activation, int], ...] = ()

    @property
    def parts(self) -> list[Part]:
        """The columns of each answer, the task's own first, and what made them."""
        own = self.expected.shape[1] - sum(width for _, width in self.further)
        return parts([(self.activation, own), *self.further])

    def record(self) -> HeadRecord:
        kind: Activation = "identity" if self.further else self.activation
        return HeadRecord(kind="tail", activation=kind, in_dim=self.dim, out_dim=self.expected.shape[1])

    def logits(self, contents: Sequence[bytes]) -> Scores:
        """float64 [n, C], up to what softmax forgets (regression: the values)."""
        own, activation = self.parts[0]
        return deactivate(activation, self.run(contents)[0][:, own])

    def run(self, contents: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores [n, C] and embeddings [n, D] of canonical inputs, as the engine will compute them."""
        parts = [self._trunk_and_tail(contents[i : i + 32]) for i in range(0, len(contents), 32)]
        scores, embeddings = (np.concatenate(column) for column in zip(*parts, strict=True))
        return scores, embeddings

    def _trunk_and_tail(self, contents: Sequence[bytes]) -> tuple[Any, Any]:
        ready, trunk, tail, edges = self._sessions
        feeds = ready.collate([ready.prepare(content) for content in contents])
        taken = {value.name for value in trunk.get_inputs()}
        found = trunk.run(edges, {name: value for name, value in feeds.items() if name in taken})
        scores, embedding = tail.run(None, dict(zip(edges, found, strict=True)))
        return scores, embedding

    @cached_property
    def _sessions(self) -> tuple[Any, Any, Any, tuple[str, ...]]:
        folder = Path(self.choice.folder)
        card = read_card(folder)
        files = verify_files(folder, card.files)
        parts = cut(files[GRAPH], self.tap, card.default_tap)
        return preprocessor(card, files), open_session(parts.trunk), open_session(self.graph), parts.edges


def deactivate(activation: Activation, scores: NDArray[Any]) -> Scores:
    """Logits that give these scores."""
    values = np.asarray(scores, np.float64)
    if activation == "identity":
        return values
    safe = np.clip(values, 1e-12, 1.0)
    if activation == "softmax":
        return np.asarray(np.log(safe))
    return np.asarray(np.log(safe) - np.log(np.clip(1 - values, 1e-12, 1.0)))


def assemble(
    tail: bytes,
    top: str,
    layers: Sequence[Layer],
    activation: Activation,
    further: Sequence[tuple[Activation, int]] = (),
) -> bytes:
    """The tail's graph with the head's layers, ReLU between them, on its features. Deterministic.

    `further` are the activation and number of the last layer's columns that answer something else; all
    answers are then one output.
    """
    model = onnx.load_model_from_string(tail)
    graph, before = model.graph, top
    for index, layer in enumerate(layers[:-1]):
        before = _layer(graph, f"head_{index}", before, layer)
        graph.node.append(helper.make_node("Relu", [before], [f"{before}_relu"]))
        before = f"{before}_relu"
    output = _answers(graph, before, layers[-1], [(activation, 0), *further])
    graph.node.append(helper.make_node("Identity", [top], [EMBEDDING]))
    _declare(graph, output, len(layers[-1][1]), layers[0][0].shape[1])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _declare(graph: Any, output: str, classes: int, dim: int) -> None:
    """What the graph gives: [N, classes] under that name, and its embedding [N, dim]."""
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", classes]),
            helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["N", dim]),
        ]
    )


def stand_on(tail: bytes, head: Head) -> bytes:
    """The graph of a tail with another head in the place of its own, which is cut off. Deterministic.

    The head takes the tail's embedding. Raises JobFailed (`unsupported_operator`) where the tail is of a
    version of ONNX in which the head cannot be written.
    """
    base, top = _beheaded(onnx.load_model_from_string(tail))
    if isinstance(head, AffineHead):
        return assemble(base.SerializeToString(), top, [(head.weight, head.bias)], head.activation)
    own = _in_version(onnx.load_model_from_string(head.to_onnx()), _version(base))
    names = {"": "", "features": top, **{value.name: value.name for value in own.graph.output}}
    for tensor in own.graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"head_{tensor.name}")
    for node in own.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [names.setdefault(name, f"head_{name}") for name in side]
    base.graph.initializer.extend(own.graph.initializer)
    base.graph.node.extend(own.graph.node)
    base.graph.node.append(helper.make_node("Identity", [top], [EMBEDDING]))
    _declare(base.graph, own.graph.output[0].name, head.record().out_dim, head.record().in_dim)
    onnx.checker.check_model(base)
    return bytes(base.SerializeToString(deterministic=True))


def _beheaded(model: Any) -> tuple[Any, str]:
    """The tail alone, and the name of its features."""
    last = {name: node for node in model.graph.node for name in node.output}[EMBEDDING]
    top = last.input[0] if last.op_type == "Identity" else EMBEDDING
    part = extract(model, [top])
    read = {name for node in part.graph.node for name in node.input} | {top}
    part.graph.input.extend(value for value in open_inputs(model) if value.name in read)
    return part, top


def _version(model: Any) -> int:
    return max(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _in_version(head: Any, version: int) -> Any:
    """A head of `OPSET` in another version of ONNX: what heads are made of is the same from 13 on."""
    if _OLDEST <= version <= OPSET:
        return head
    if version > OPSET:
        return version_converter.convert_version(head, version)
    message = f"The model to start from is in ONNX's opset {version}, and heads need {_OLDEST} or later."
    raise JobFailed(message, code="unsupported_operator")


def _answers(graph: Any, before: str, last: Layer, kinds: Sequence[tuple[Activation, int]]) -> str:
    """The last layer and its activations; the name of the output. The first answer has the columns left."""
    weight, bias = last
    own = len(bias) - sum(width for _, width in kinds)
    found = []
    for place, (columns, kind) in enumerate(parts([(kinds[0][0], own), *kinds[1:]])):
        name = "head_last" if place == 0 else f"head_last_{place}"
        logits = _layer(graph, name, before, (weight[columns], bias[columns]))
        output = "value" if kind == "identity" else "scores"
        found.append(output if place == 0 else f"{output}_{place}")
        axis = {"axis": 1} if kind == "softmax" else {}
        graph.node.append(helper.make_node(_ACTIVATION_NODE[kind], [logits], [found[-1]], **axis))
    if len(found) == 1:
        return found[0]
    graph.node.append(helper.make_node("Concat", found, ["answers"], axis=1))
    return "answers"


def _layer(graph: Any, name: str, before: str, layer: Layer) -> str:
    weight, bias = layer
    graph.initializer.extend([_number(f"{name}_weight", weight), _number(f"{name}_bias", bias)])
    graph.node.append(helper.make_node("Gemm", [before, f"{name}_weight", f"{name}_bias"], [name], transB=1))
    return name


def scaled(layers: Sequence[Layer], factor: float) -> list[Layer]:
    """The layers with the logits times `factor`."""
    weight, bias = layers[-1]
    return [*layers[:-1], (weight * factor, bias * factor)]


def _number(name: str, array: NDArray[np.float64]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
