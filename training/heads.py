"""Fitted heads: what a method leaves behind, and the ONNX graph it becomes.

A head gives logits; its activation turns them into scores. `models.manifest.Head` is the contract.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Head as HeadRecord
from training.frame import Frame

Activation = Literal["softmax", "sigmoid", "identity"]
Scores = NDArray[np.float64]
OPSET = 17
IR_VERSION = 10
_ACTIVATION_NODE = {"softmax": "Softmax", "sigmoid": "Sigmoid", "identity": "Identity"}


class Head(Protocol):
    """The part above the tap."""

    @property
    def activation(self) -> Activation: ...

    def logits(self, X: NDArray[Any]) -> Scores:
        """float64 [n, C] before the activation (regression: the values)."""
        ...

    def scaled(self, factor: float) -> Head:
        """The same head with its logits times `factor` (an inverse temperature)."""
        ...

    def lifted(self, frame: Frame) -> Head:
        """The same head, but taking raw features instead of coordinates in `frame`."""
        ...

    def finite(self) -> bool:
        """Whether every number in it is finite as float32."""
        ...

    def record(self) -> HeadRecord:
        """Its kind and shape, for the manifest."""
        ...

    def to_onnx(self) -> bytes:
        """The graph, deterministic: `features` -> `scores` (regression: `value`)."""
        ...


def activate(activation: Activation, logits: NDArray[Any]) -> Scores:
    """Softmax over the last axis, logistic sigmoid, or nothing; float64."""
    values = np.asarray(logits, np.float64)
    if activation == "identity":
        return values
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(values / 2)))
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def scores(head: Head, X: NDArray[Any]) -> Scores:
    """What the head answers: probabilities [n, C], or values [n, K]."""
    return activate(head.activation, head.logits(X))


@dataclass(frozen=True, eq=False)
class AffineHead:
    """activation(x @ weight.T + bias); `weight` [C, D], `bias` [C]."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    activation: Activation

    def logits(self, X: NDArray[Any]) -> Scores:
        return np.asarray(X @ self.weight.T + self.bias, np.float64)

    def scaled(self, factor: float) -> AffineHead:
        return replace(self, weight=self.weight * factor, bias=self.bias * factor)

    def lifted(self, frame: Frame) -> AffineHead:
        weight = frame.lift(self.weight) / frame.scale
        return replace(self, weight=weight, bias=self.bias - weight @ frame.mean)

    def finite(self) -> bool:
        return all_finite(self.weight, self.bias)

    def record(self) -> HeadRecord:
        classes, dim = self.weight.shape
        return HeadRecord(kind="affine", activation=self.activation, in_dim=dim, out_dim=classes)

    def to_onnx(self) -> bytes:
        nodes = [helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1)]
        return build_graph(nodes, {"weight": self.weight, "bias": self.bias}, self.record())


def all_finite(*arrays: NDArray[Any]) -> bool:
    """Whether every number is finite, and stays so as float32."""
    limit = np.finfo(np.float32).max
    return all(bool((np.abs(array) <= limit).all()) for array in arrays)


def build_graph(nodes: list[Any], constants: dict[str, NDArray[Any]], head: HeadRecord) -> bytes:
    """Nodes from `features` to `logits` as a complete graph with the head's activation.

    Floating constants become float32 initializers. Equal arguments give equal bytes.
    """
    output = "value" if head.activation == "identity" else "scores"
    last = helper.make_node(_ACTIVATION_NODE[head.activation], ["logits"], [output], **_axis(head.activation))
    graph = helper.make_graph(
        [*nodes, last],
        "head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", head.in_dim])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", head.out_dim])],
        [_initializer(name, array) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="durian", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _axis(activation: Activation) -> dict[str, int]:
    return {"axis": 1} if activation == "softmax" else {}


def _initializer(name: str, array: NDArray[Any]) -> Any:
    dtype = np.float32 if np.issubdtype(array.dtype, np.floating) else array.dtype
    return numpy_helper.from_array(np.ascontiguousarray(array, dtype), name)
