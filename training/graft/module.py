"""An ONNX graph as a torch module: run node by node, its weights as parameters, and written back.

What was trained is what is exported: the same graph with other numbers in it, so the two agree by
construction (and `write_back` is checked by tests against ONNX Runtime for every family of backbones).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.errors import JobFailed
from models.graphs import open_inputs
from training.graft.operators import OPERATORS, Call
from training.graft.operators.base import Operator
from training.graft.weights import prepare, trainable


@dataclass(frozen=True)
class Step:
    """One node. `spent` are the tensors that nothing reads after it."""

    run: Operator
    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    spent: tuple[str, ...]


class GraphModule(nn.Module):
    """Executes a graph. Weights are parameters under the names of their initializers (`weights`).

    Other floating numbers are buffers; whole numbers stay on the CPU, where shapes are reckoned.
    Batch normalisation keeps the statistics it came with, in training too. Raises JobFailed (code
    `unsupported_operator`) naming the operators that cannot be trained through.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = prepare(model)
        _check(self.model)
        self.inputs = tuple(value.name for value in open_inputs(self.model))
        self.outputs = tuple(value.name for value in self.model.graph.output)
        self._steps = _steps(self.model)
        self._whole: dict[str, Tensor] = {}
        self._keys: dict[str, str] = {}
        chosen = trainable(self.model)
        for tensor in self.model.graph.initializer:
            self._store(tensor, tensor.name in chosen)

    def _store(self, stored: TensorProto, weight: bool) -> None:
        value = torch.from_numpy(numpy_helper.to_array(stored).copy())
        if not value.is_floating_point():
            self._whole[stored.name] = value
            return
        # torch allows no dot, and no name that a module has already.
        key = self._keys[stored.name] = "tensor:" + stored.name.replace(".", ":")
        if weight:
            self.register_parameter(key, nn.Parameter(value))
        else:
            self.register_buffer(key, value)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Initializer name -> parameter, in the graph's order."""
        own = dict(self.named_parameters())
        return {name: own[key] for name, key in self._keys.items() if key in own}

    def forward(
        self, feeds: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The graph's outputs from its inputs. `weights` stand in for some of the stored ones."""
        tensors: dict[str, Any] = {"": None, **self._whole}
        tensors.update((name, getattr(self, key)) for name, key in self._keys.items())
        tensors.update(weights or {})
        tensors.update((name, feeds[name]) for name in self.inputs)
        for step in self._steps:
            found = step.run(step.call, *(tensors[name] for name in step.inputs))
            found = (found,) if isinstance(found, Tensor) else found
            tensors.update(zip(step.outputs, found, strict=False))
            for name in step.spent:
                del tensors[name]
        return {name: tensors[name] for name in self.outputs}


def write_back(module: GraphModule, weights: Mapping[str, Tensor] | None = None) -> bytes:
    """The graph with the module's weights, or with `weights` for some. Equal numbers give equal bytes."""
    model = onnx.ModelProto()
    model.CopyFrom(module.model)
    values = {**module.weights, **(weights or {})}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            array = values[tensor.name].detach().cpu().contiguous().numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return bytes(model.SerializeToString(deterministic=True))


def _check(model: onnx.ModelProto) -> None:
    unknown = sorted({node.op_type for node in model.graph.node if not _known(node)})
    if unknown:
        message = (
            f"The backbone computes with {', '.join(unknown)}, which Durian cannot train through: "
            "choose a tap above it, or a method on fixed features such as logistic."
        )
        raise JobFailed(message, code="unsupported_operator")


def _known(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in OPERATORS


def _steps(model: onnx.ModelProto) -> list[Step]:
    kept = {value.name for value in model.graph.output} | {tensor.name for tensor in model.graph.initializer}
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    steps: list[Step] = []
    for node in reversed(model.graph.node):
        outputs = tuple(node.output)
        spent = {name for name in (*node.input, *outputs) if name and name not in kept}
        kept |= spent
        call = Call(opset, len(outputs), {one.name: _attribute(one) for one in node.attribute})
        steps.append(Step(OPERATORS[node.op_type], call, tuple(node.input), outputs, tuple(sorted(spent))))
    return steps[::-1]


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return value.decode() if isinstance(value, bytes) else value
