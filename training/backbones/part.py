"""An ONNX model as a part of a larger graph: its one input and output that are used, and their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from models.errors import InvalidInput
from training.backbones.graph import FLOAT, Dims
from training.backbones.pool import show


@dataclass(frozen=True)
class Part:
    """A checked model, the input that is fed and the output that is read. `label` names it in messages."""

    model: onnx.ModelProto
    input: str
    output: str
    label: str

    @property
    def other_inputs(self) -> set[str]:
        """Names of the inputs besides the one that is fed."""
        return {value.name for value in open_inputs(self.model)} - {self.input}

    @property
    def type(self) -> int:
        """Element type of the input."""
        return element_type(self.model.graph.input, self.input)

    def shape_in(self) -> Dims | None:
        """Dimensions of the input: numbers where fixed, else names; None where unknown."""
        return shape_of(self.model.graph.input, self.input)


MASK = "attention_mask"
TYPES = "token_type_ids"
BESIDE = frozenset((MASK, TYPES))
"""Inputs that text models take beside their token ids."""


def choose_part(model: onnx.ModelProto, input: str | None, output: str | None, label: str = "model") -> Part:
    """Find the named input and output (each may be None where there is only one, `BESIDE` not counted).

    Raises InvalidInput (code `input`, `output`) listing the names there are, or `output_shape` where the
    output is not float32.
    """
    inputs = [value.name for value in open_inputs(model)]
    if input is None and len(others := [name for name in inputs if name not in BESIDE]) == 1:
        inputs = others
    source = _choose(inputs, input, "input", label)
    target = _choose([value.name for value in model.graph.output], output, "output", label)
    if element_type(model.graph.output, target) != FLOAT:
        message = f"The {label}'s output must be float32: export it so."
        raise InvalidInput(message, code="output_shape", param="output")
    return Part(model, source, target, label)


def _choose(names: Sequence[str], wanted: str | None, what: str, label: str) -> str:
    if wanted in names:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    problem = f"has no {what} of that name" if wanted else f"has {len(names)} {what}s, so name the one to use"
    raise InvalidInput(f"The {label} {problem}: {', '.join(names)}.", code=what, param=what)


def open_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs to be fed: old exports also list their weights among the inputs."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def element_type(values: Sequence[onnx.ValueInfoProto], name: str) -> int:
    """Element type of a named tensor; 0 for what is no tensor."""
    return next(int(value.type.tensor_type.elem_type) for value in values if value.name == name)


def shape_of(values: Sequence[onnx.ValueInfoProto], name: str) -> Dims | None:
    """Dimensions of a named tensor: numbers where fixed, else names; None where unknown."""
    value = next(value for value in values if value.name == name)
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in value.type.tensor_type.shape.dim]


def fit_input(part: Part, dims: Dims, kind: int) -> Dims:
    """The shape to feed: `dims` [N, ...], with dimensions of 1 put in where the model wants them.

    Raises InvalidInput (code `input_type`, `fixed_batch` or `input_shape`).
    """
    if part.type != kind:
        expected = onnx.TensorProto.DataType.Name(kind).lower()
        message = f"The {part.label}'s input must be of type {expected}: change the spec or export it so."
        raise InvalidInput(message, code="input_type", param="input")
    declared = part.shape_in() or dims
    if isinstance(declared[0], int):
        message = (
            f"The {part.label} takes a fixed batch of {declared[0]}: export it with a dynamic first "
            "dimension (torch.onnx.export with dynamic_shapes or dynamic_axes)."
        )
        raise InvalidInput(message, code="fixed_batch", param="input")
    shape = _fill(declared, dims)
    if shape is None:
        message = f"The {part.label}'s input is {show(declared)}, but the spec prepares {show(dims)}."
        raise InvalidInput(message, code="input_shape", param="input")
    return shape


def _fill(declared: Dims, dims: Dims) -> Dims | None:
    """`declared` with its open dimensions taken from `dims`; None where the two disagree."""
    spare = len(declared) - len(dims)
    rest = list(dims[1:])
    filled: list[int | str] = [dims[0]]
    for want in declared[1:]:
        if want == 1 and spare > 0 and (not rest or rest[0] != 1):
            spare -= 1
            filled.append(1)
        elif rest and (isinstance(want, str) or want == rest[0]):
            filled.append(rest.pop(0))
        else:
            return None
    return None if rest else filled


def specialise(part: Part, dims: Dims) -> onnx.ModelProto:
    """A copy that takes `dims` and gives only the output used, whose shape is left to be inferred."""
    model = onnx.ModelProto()
    model.CopyFrom(part.model)
    graph = model.graph
    others = [value for value in open_inputs(part.model) if value.name != part.input]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(part.input, part.type, dims))
    graph.input.extend(others)
    graph.output.append(helper.make_tensor_value_info(part.output, FLOAT, None))
    _prune(graph, part.output)
    return model


def _prune(graph: onnx.GraphProto, output: str) -> None:
    """Drop the nodes and weights that `output` does not need (a classifier above the features, say)."""
    needed = {output}
    kept = []
    for node in reversed(graph.node):  # a checked graph is in topological order
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
