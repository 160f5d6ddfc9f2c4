"""Turn any ONNX feature extractor into a backbone graph: our input, one tap named `embedding` [N, D].

The glue around the model uses only operators whose form has not changed since opset 11, so that it fits
whatever opset the model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import compose, helper

from models.backbone import ImagePreprocess, TextPreprocess
from models.errors import InvalidInput
from training.backbones.graph import FLOAT, INT64, UINT8, Dims, GraphWriter
from training.backbones.operators import opset_of
from training.backbones.pool import mean_rest, pool_vector, show
from training.backbones.reductions import reduce_per_item
from training.backbones.spec import Frontend, ImportSpec, feed_shape

EMBEDDING = "embedding"
MASK = "attention_mask"
TYPES = "token_type_ids"


@dataclass(frozen=True)
class Adapted:
    """A backbone graph: its bytes, the name of its input, the width of its embedding, its weights' number."""

    graph: bytes
    input: str
    dim: int
    parameters: int


@dataclass(frozen=True)
class Part:
    """A model with the one input and output that are used."""

    model: onnx.ModelProto
    input: str
    output: str
    label: str = "model"

    def shape(self, name: str) -> Dims | None:
        """Dimensions of an input or output: numbers where fixed, else names; None where unknown."""
        for value in (*self.model.graph.input, *self.model.graph.output):
            if value.name == name and value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
        return None


def part(model: onnx.ModelProto, input: str | None, output: str | None, label: str = "model") -> Part:
    """Choose the input and output of a model. Raises InvalidInput listing the names there are."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in stored]
    outputs = [value.name for value in model.graph.output]
    return Part(
        model, _choose(inputs, input, "input", label), _choose(outputs, output, "output", label), label
    )


def _choose(names: Sequence[str], wanted: str | None, what: str, label: str) -> str:
    if wanted in names:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    problem = f"has no {what} of that name" if wanted else f"has {len(names)} {what}s, so name the one to use"
    raise InvalidInput(f"The {label} {problem}: {', '.join(names)}.", code=what, param=what)


def adapt(main: Part, spec: ImportSpec, frontend: Part | None = None) -> Adapted:
    """The backbone graph. Raises InvalidInput for a model that does not fit its spec."""
    g = GraphWriter()
    name, kind, dims = _graph_input(main, spec)
    inputs: dict[str, tuple[int, Dims]] = {name: (kind, ("N", *dims))}
    extra = {}
    if isinstance(spec.preprocess, TextPreprocess):
        inputs[MASK] = (INT64, ("N", "L"))
        extra = _text_inputs(g, main, name)
    else:
        _check_no_more_inputs(main)
    pool = spec.pooling
    if frontend is None or pool.frontend is None:
        out, shape = _absorb(g, main, name, ("N", *dims), kind, extra)
        vector, dim = pool_vector(g, out, shape, pool.pool, MASK if MASK in inputs else None)
    else:
        vector, dim = _windowed(g, main, frontend, name, pool.frontend, spec)
    g.node("Identity", vector, out=EMBEDDING)
    opset = _common_opset(main, frontend)
    graph = g.to_bytes(EMBEDDING, inputs, {EMBEDDING: ("N", dim)}, opset=opset)
    return Adapted(graph, name, dim, g.parameters)


def _graph_input(main: Part, spec: ImportSpec) -> tuple[str, int, Dims]:
    match spec.preprocess:
        case TextPreprocess():
            return "input_ids", INT64, ("L",)
        case ImagePreprocess(dtype="uint8"):
            return "image", UINT8, _fixed(spec)
        case _:
            return spec.preprocess.kind, FLOAT, _fixed(spec)


def _fixed(spec: ImportSpec) -> Dims:
    return [d for d in feed_shape(spec) if d is not None]


def _text_inputs(g: GraphWriter, main: Part, ids: str) -> dict[str, str]:
    """What a text model takes besides its ids: the mask, and token types (all of one sentence: 0)."""
    stored = {tensor.name for tensor in main.model.graph.initializer}
    others = {value.name for value in main.model.graph.input} - stored - {main.input}
    if MASK not in others or others - {MASK, TYPES}:
        message = f"A text model takes its token ids, {MASK} and at most {TYPES}: export it so."
        raise InvalidInput(message, code="input", param="input")
    return {MASK: MASK} | ({TYPES: g.node("Sub", ids, ids)} if TYPES in others else {})


def _check_no_more_inputs(main: Part) -> None:
    stored = {tensor.name for tensor in main.model.graph.initializer}
    if {value.name for value in main.model.graph.input} - stored - {main.input}:
        message = f"The {main.label} needs more than one input: export it with the other inputs fixed."
        raise InvalidInput(message, code="input", param="input")


def _common_opset(main: Part, frontend: Part | None) -> int:
    opsets = {opset_of(p.model) for p in (main, frontend) if p is not None}
    if len(opsets) > 1:
        message = "The model and its frontend have different opsets: export both with the same one."
        raise InvalidInput(message, code="opset", param="frontend")
    return opsets.pop()


def _absorb(
    g: GraphWriter, piece: Part, feed: str, dims: Dims, kind: int, extra: dict[str, str] | None = None
) -> tuple[str, Dims]:
    """Put a model into the graph, fed from tensor `feed` of shape `dims`; its output and that one's shape."""
    wanted = _match_input(piece, dims, kind)
    if len(wanted) != len(dims):
        feed = g.node("Reshape", feed, g.ints(-1, *[int(d) for d in wanted[1:]]))
    model = _with_input(piece, wanted)
    reduce_per_item(model)
    inferred = onnx.shape_inference.infer_shapes(model)
    shape = Part(inferred, piece.input, piece.output).shape(piece.output)
    if shape is None or any(o.type.tensor_type.elem_type != FLOAT for o in _outputs(piece)):
        message = f"The {piece.label}'s output must be float32 of known rank: export it with its shapes."
        raise InvalidInput(message, code="output_shape", param="output")
    prefix = f"{piece.label}/"
    graph = compose.add_prefix_graph(model.graph, prefix)
    feeds = {prefix + key: tensor for key, tensor in {piece.input: feed, **(extra or {})}.items()}
    g.absorb(graph, feeds)
    return prefix + piece.output, shape


def _outputs(piece: Part) -> list[onnx.ValueInfoProto]:
    return [value for value in piece.model.graph.output if value.name == piece.output]


def _match_input(piece: Part, dims: Dims, kind: int) -> Dims:
    """The shape to feed: `dims`, or `dims` with dimensions of 1 where the model wants them."""
    (value,) = [v for v in piece.model.graph.input if v.name == piece.input]
    if value.type.tensor_type.elem_type != kind:
        expected = onnx.TensorProto.DataType.Name(kind).lower()
        message = f"The {piece.label}'s input must be of type {expected}: change the spec or export it so."
        raise InvalidInput(message, code="input_type", param="input")
    declared = piece.shape(piece.input) or dims
    if declared[:1] and isinstance(declared[0], int):
        message = (
            f"The {piece.label} takes a fixed batch of {declared[0]}: export it with a dynamic first dimension "
            "(torch.onnx.export with dynamic_shapes or dynamic_axes)."
        )
        raise InvalidInput(message, code="fixed_batch", param="input")
    shape = _fill(declared, dims)
    if shape is None:
        message = f"The {piece.label}'s input is {show(declared)}, but the spec prepares {show(dims)}."
        raise InvalidInput(message, code="input_shape", param="input")
    return shape


def _fill(declared: Dims, dims: Dims) -> Dims | None:
    """`declared` with its open dimensions taken from `dims`; None where the two disagree."""
    spare = len(declared) - len(dims)
    rest = list(dims[1:])
    filled: list[int | str] = []
    for want in declared[1:]:
        if want == 1 and spare > 0 and (not rest or rest[0] != 1):
            spare -= 1
            filled.append(1)
        elif rest and (isinstance(want, str) or want == rest[0]):
            filled.append(rest.pop(0))
        else:
            return None
    return None if rest else ["N", *filled]


def _with_input(piece: Part, dims: Dims) -> onnx.ModelProto:
    """A copy with only the output used, that output's shape open, and the input's shape as it is fed."""
    model = onnx.ModelProto()
    model.CopyFrom(piece.model)
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [v for v in piece.model.graph.input if v.name not in stored and v.name != piece.input]
    (kind,) = [v.type.tensor_type.elem_type for v in graph.input if v.name == piece.input]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(piece.input, kind, dims))
    graph.input.extend(inputs)
    graph.output.append(helper.make_tensor_value_info(piece.output, FLOAT, None))
    _prune(graph, piece.output)
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


def _windowed(
    g: GraphWriter, main: Part, front: Part, wave: str, how: Frontend, spec: ImportSpec
) -> tuple[str, int]:
    """Wave -> frames -> affine -> windows, each embedded alone -> their mean."""
    frames, shape = _absorb(g, front, wave, ("N", spec.samples), FLOAT)
    count, bins = _frame_shape(shape)
    starts = range(0, count - how.window + 1, how.hop)
    if not starts:
        message = f"{count} frames do not fill a window of {how.window}: give more seconds."
        raise InvalidInput(message, code="frontend", param="seconds")
    flat = g.node("Reshape", frames, g.ints(-1, count, bins))
    scaled = g.node("Add", g.node("Mul", flat, g.scalar(how.scale)), g.scalar(how.shift))
    places = [start + offset for start in starts for offset in range(how.window)]
    picked = g.node("Gather", scaled, g.int_list("windows", places), axis=1)
    windows = g.node("Reshape", picked, g.ints(-1, how.window, bins))
    out, one = _absorb(g, main, windows, ("N", how.window, bins), FLOAT)
    vectors, dim = pool_vector(g, out, one, spec.pooling.pool, None)
    stacked = g.node("Reshape", vectors, g.ints(-1, len(starts), dim))
    return mean_rest(g, g.node("Transpose", stacked, perm=[0, 2, 1])), dim


def _frame_shape(shape: Dims) -> tuple[int, int]:
    """Frames and bins of a frontend's output [N, frames, bins], give or take dimensions of 1."""
    match [d for d in shape[1:] if d != 1]:
        case [int(count), int(bins)]:
            return count, bins
    message = f"The frontend's output is {show(shape)}, not [N, frames, bins] of known size: export it so."
    raise InvalidInput(message, code="frontend", param="frontend")
