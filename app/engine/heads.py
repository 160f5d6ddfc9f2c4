"""The parts above the tap. Affine heads of different models and class counts are applied together.

The bias is folded into the weights as one more column, so that a row of a mixed batch costs one
matrix-vector product into a row of padded logits, and the activation runs once over all of them. Against
gathering the weights into one padded tensor this copies no weights (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.engine.providers import device_of
from models.errors import CorruptArtefact
from models.manifest import Manifest
from models.runtime import CPU, Features, open_session

GPU_TAIL = 32
"""On a GPU a tail that may have convolutions runs on so many rows at a time, no more and no fewer: a session
should see one shape alone (`app.engine.gpu`)."""

Activation = Literal["softmax", "sigmoid", "identity"]
Outputs = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AffineHead:
    """`activation(features @ weight.T + bias)`; `table` is `[weight | bias]`, float32 [C, D + 1]."""

    table: NDArray[np.float32]
    activation: Activation

    @property
    def nbytes(self) -> int:
        return self.table.nbytes


@dataclass(frozen=True, eq=False)
class GraphHead:
    """Any other graph, features float32 [n, D] to outputs float32 [n, C]. May be run by several threads."""

    session: Any
    nbytes: int = 0

    def apply(self, features: Features) -> Outputs:
        (outputs,) = self.session.run(None, {"features": features})
        return np.asarray(outputs, np.float32)


@dataclass(frozen=True, eq=False)
class TailHead:
    """Blocks of its own above a cut of the backbone at `tap`, with a head on them; run on batches of `size`
    where that is given."""

    session: Any
    tap: str
    nbytes: int = 0
    size: int | None = None

    def apply(self, edges: Mapping[str, NDArray[Any]], rows: Sequence[int]) -> tuple[Outputs, Features]:
        """Outputs [n, C] and features [n, D] of some rows of what the trunk gave."""
        size = self.size or len(rows)
        parts = [self._run(edges, rows[start : start + size], size) for start in range(0, len(rows), size)]
        outputs, features = zip(*parts, strict=True)
        return np.concatenate(outputs, dtype=np.float32), np.concatenate(features, dtype=np.float32)

    def _run(
        self, edges: Mapping[str, NDArray[Any]], rows: Sequence[int], size: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        taken = [*rows, *[rows[-1]] * (size - len(rows))]
        feeds = {value.name: edges[value.name][taken] for value in self.session.get_inputs()}
        outputs, features = self.session.run(None, feeds)
        return outputs[: len(rows)], features[: len(rows)]


@dataclass(frozen=True, eq=False)
class DistantHead:
    """In a front-end: the engine's process has the head, under this tenant and model name (docs/adr/0005)."""

    tenant: str
    name: str
    nbytes: int = 0


Head = AffineHead | GraphHead | TailHead | DistantHead


def load_head(manifest: Manifest, data: bytes, providers: Sequence[str] = CPU) -> Head:
    """The head in `data`, the bytes of `head.onnx`; a tail runs on `providers`, as the trunk does, and small
    graphs on features on the CPU. Raises CorruptArtefact."""
    if manifest.head.kind == "graph":
        return GraphHead(_open(data, CPU), len(data))
    if manifest.head.kind == "tail":
        session = _open(data, providers)
        fixed = device_of(session, tuple(providers)) != "cpu" and manifest.input.modality != "text"
        return TailHead(session, manifest.tap, len(data), GPU_TAIL if fixed else None)
    weight, bias = _affine_weights(data)
    if weight.shape != (manifest.head.out_dim, manifest.head.in_dim) or bias.shape != weight.shape[:1]:
        raise CorruptArtefact("The head's weights do not have the shape its manifest states.")
    table = np.concatenate([weight, bias[:, None]], axis=1, dtype=np.float32)
    if not np.isfinite(table).all():
        raise CorruptArtefact("The head holds weights that are not finite.", code="non_finite")
    return AffineHead(table, manifest.head.activation)


def _open(data: bytes, providers: Sequence[str]) -> Any:
    try:
        return open_session(data, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes share no base
        raise CorruptArtefact("The head is not a graph that can be run.") from error


def _affine_weights(data: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    import onnx  # 0.1 s and 30 MB that a service without affine heads need not spend
    from onnx import numpy_helper

    try:
        graph = onnx.load_model_from_string(data).graph
        found = {i.name: numpy_helper.to_array(i) for i in graph.initializer if i.name in ("weight", "bias")}
        return found["weight"], found["bias"]
    except Exception as error:  # a protobuf error, or a missing name
        raise CorruptArtefact("The head lacks its weights.") from error


def apply_alike(features: Features, heads: Sequence[Head]) -> Outputs:
    """Row i of `features` [n, D] through `heads[i]`: all affine and of one activation, or all the same.

    Gives [n, C] for the largest C; a row begins with the `columns` of its own head.
    """
    first = heads[0]
    if isinstance(first, GraphHead):
        return first.apply(features)
    return apply_affine(features, [head for head in heads if isinstance(head, AffineHead)])


def columns(head: Head) -> int | None:
    """How many columns of what `apply_alike` gives are a head's own; None: all."""
    return len(head.table) if isinstance(head, AffineHead) else None


def apply_affine(features: Features, heads: Sequence[AffineHead]) -> Outputs:
    """`apply_alike` of affine heads."""
    first = heads[0]
    if all(head is first for head in heads):
        return activate(features @ first.table[:, :-1].T + first.table[:, -1], first.activation)
    inputs = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    logits = np.full((len(heads), max(len(head.table) for head in heads)), -np.inf, np.float32)
    for head, row, into in zip(heads, inputs, logits, strict=True):
        np.dot(head.table, row, out=into[: len(head.table)])
    return activate(logits, first.activation)


def activate(logits: NDArray[np.float32], activation: Activation) -> Outputs:
    """Along the last axis, stable for any finite logits; a logit of -inf is a class that is not there."""
    if activation == "softmax":
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)
    if activation == "sigmoid":
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)
    return logits
