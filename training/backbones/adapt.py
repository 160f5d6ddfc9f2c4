"""Turn any ONNX feature extractor into a backbone graph: our input, and the taps.

`embedding` [N, D] is the output that the administrator names, pooled as told; where that is a mean,
`embedding_stat` adds the deviation. Below, where the graph shows
its stages (`places`), `stem`, `stage1`, ... are pooled over space, time or tokens in both forms (`forms`).

The glue around the model uses only operators whose form has not changed since opset 11, so that it fits
whatever opset the model has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import compose

from models.backbone import ImagePreprocess, Tap, TextPreprocess
from models.errors import InvalidInput
from training.backbones.forms import stat, width
from training.backbones.graph import FLOAT, INT64, UINT8, Dims, GraphWriter
from training.backbones.operators import opset_of
from training.backbones.part import MASK, TYPES, Part, fit_input, shape_of, specialise
from training.backbones.places import Place, stage_ends
from training.backbones.pool import mean_rest, pool_both, pool_vector, show
from training.backbones.reductions import reduce_per_item
from training.backbones.spec import Frontend, ImportSpec, Pool, feed_shape

EMBEDDING = "embedding"


@dataclass(frozen=True)
class Adapted:
    """A backbone graph: its bytes, the name of its input, its taps, its weights' number."""

    graph: bytes
    input: str
    taps: tuple[Tap, ...]
    parameters: int

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.taps[-1].dim


@dataclass(frozen=True)
class _Body:
    """A model within the graph: its output and that one's shape, and the places below it."""

    output: str
    dims: Dims
    places: Sequence[Place] = ()


def adapt(main: Part, spec: ImportSpec, frontend: Part | None = None, *, lower: bool = True) -> Adapted:
    """The backbone graph, with `lower` also taps below the embedding.

    Raises InvalidInput for a model that does not fit its spec.
    """
    g = GraphWriter()
    name, kind, dims = _graph_input(spec)
    inputs: dict[str, tuple[int, Dims]] = {name: (kind, dims)}
    body, mask = None, None
    if isinstance(spec.preprocess, TextPreprocess):
        mask = MASK
        inputs[MASK] = (kind, dims)
        body = _text(g, main, name, dims)
        vector, dim = pool_vector(g, body.output, body.dims, spec.pooling.pool, MASK)
    elif frontend and spec.pooling.frontend:
        vector, dim = _windowed(g, main, frontend, name, spec.pooling.frontend, spec)
    else:
        body = _absorb(g, main, name, dims, kind)
        vector, dim = pool_vector(g, body.output, body.dims, spec.pooling.pool)
    g.node("Identity", vector, out=EMBEDDING)
    taps = [*(_more(g, body, spec.pooling.pool, mask) if body and lower else ())]
    taps.append(Tap(name=EMBEDDING, dim=dim, depth=1))
    graph = _to_bytes(g, inputs, taps, _common_opset(main, frontend))
    return Adapted(graph, name, tuple(taps), g.parameters)


def _more(g: GraphWriter, body: _Body, pool: Pool | None, mask: str | None) -> Iterator[Tap]:
    """Both forms of the places, and of an output that is averaged the second one."""
    for number, place in enumerate(body.places):
        name = f"stage{number}" if number else "stem"
        pool_both(g, place, name, mask)
        for form in (name, stat(name)):
            yield Tap(name=form, dim=width(form, place.channels), depth=place.depth)
    if pool in ("channels_first", "channels_last"):
        top = Place(body.output, body.dims, last=pool == "channels_last", depth=1)
        pool_both(g, top, EMBEDDING, mask, alone=False)
        yield Tap(name=stat(EMBEDDING), dim=width(stat(EMBEDDING), top.channels), depth=1)


def _graph_input(spec: ImportSpec) -> tuple[str, int, Dims]:
    dims: Dims = ("N", *feed_shape(spec))
    match spec.preprocess:
        case TextPreprocess():
            return "input_ids", INT64, dims
        case ImagePreprocess(dtype="uint8"):
            return "image", UINT8, dims
        case _:
            return spec.preprocess.kind, FLOAT, dims


def _to_bytes(g: GraphWriter, inputs: dict[str, tuple[int, Dims]], taps: Sequence[Tap], opset: int) -> bytes:
    try:
        return g.to_bytes(EMBEDDING, inputs, {tap.name: ("N", tap.dim) for tap in taps}, opset=opset)
    except onnx.checker.ValidationError:
        message = "The model cannot be made part of a backbone graph: export it with opset 17."
        raise InvalidInput(message, code="not_onnx", param="model") from None


def _common_opset(main: Part, frontend: Part | None) -> int:
    opsets = {opset_of(part.model) for part in (main, frontend) if part is not None}
    if len(opsets) > 1:
        message = "The model and its frontend have different opsets: export both with the same one."
        raise InvalidInput(message, code="opset", param="frontend")
    return opsets.pop()


def _absorb(
    g: GraphWriter, part: Part, feed: str, dims: Dims, kind: int, extra: Mapping[str, str] | None = None
) -> _Body:
    """Put a model into the graph, fed from tensor `feed` of shape `dims`."""
    extra = extra or {}
    if part.other_inputs - set(extra):
        message = f"The {part.label} needs more than one input: export it with the other inputs fixed."
        raise InvalidInput(message, code="input", param="input")
    wanted = fit_input(part, dims, kind)
    if len(wanted) != len(dims):
        feed = g.node("Reshape", feed, g.ints(-1, *map(int, wanted[1:])))
    model = specialise(part, wanted)
    reduce_per_item(model)
    prefix = f"{part.label}/"
    feeds = {prefix + name: tensor for name, tensor in {part.input: feed, **extra}.items()}
    g.absorb(compose.add_prefix_graph(model.graph, prefix), feeds)
    shape, places = _shapes(model, part)
    found = [replace(place, tensor=prefix + place.tensor) for place in places]
    return _Body(prefix + part.output, shape, found)


def _shapes(model: onnx.ModelProto, part: Part) -> tuple[Dims, list[Place]]:
    """The shape of the part's output, and the places below it."""
    told = shape_of(part.model.graph.output, part.output)
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
        shape = _joined(shape_of(inferred.graph.output, part.output), told)
    except onnx.shape_inference.InferenceError:
        shape = None
    if shape is None:
        message = f"The rank of the {part.label}'s output cannot be told: export it with its shapes."
        raise InvalidInput(message, code="output_shape", param="output")
    return shape, stage_ends(inferred, part.input, part.output)


def _joined(inferred: Dims | None, told: Dims | None) -> Dims | None:
    """What is inferred, and where that is no number what the model says: the trial tells whether it is so."""
    if inferred is None or told is None or len(inferred) != len(told):
        return inferred or told
    return [mine if isinstance(mine, int) else its for mine, its in zip(inferred, told, strict=True)]


def _text(g: GraphWriter, main: Part, ids: str, dims: Dims) -> _Body:
    """A text model: it also takes the mask, and perhaps token types (all of one sentence: 0)."""
    if MASK not in main.other_inputs or main.other_inputs - {MASK, TYPES}:
        message = f"A text model takes its token ids, {MASK} and at most {TYPES}: export it so."
        raise InvalidInput(message, code="input", param="input")
    extra = {MASK: MASK}
    if TYPES in main.other_inputs:
        extra[TYPES] = g.node("Sub", ids, ids)
    return _absorb(g, main, ids, dims, INT64, extra)


def _windowed(
    g: GraphWriter, main: Part, front: Part, wave: str, how: Frontend, spec: ImportSpec
) -> tuple[str, int]:
    """Wave -> frames -> affine -> windows, each embedded alone -> their mean."""
    wave, samples = _lead_in(g, wave, how, spec)
    frames = _absorb(g, front, wave, ("N", samples), FLOAT)
    count, bins = _frame_shape(frames.dims)
    starts = range(0, count - how.window + 1, how.hop)
    if not starts:
        message = f"{count} frames do not fill a window of {how.window}: give more seconds."
        raise InvalidInput(message, code="frontend", param="seconds")
    flat = g.node("Reshape", frames.output, g.ints(-1, count, bins))
    scaled = g.node("Add", g.node("Mul", flat, g.scalar(how.scale)), g.scalar(how.shift))
    places = [start + offset for start in starts for offset in range(how.window)]
    picked = g.node("Gather", scaled, g.int_list("windows", places), axis=1)
    windows = g.node("Reshape", picked, g.ints(-1, how.window, bins))
    body = _absorb(g, main, windows, ("N", how.window, bins), FLOAT)
    vectors, dim = pool_vector(g, body.output, body.dims, spec.pooling.pool)
    stacked = g.node("Reshape", vectors, g.ints(-1, len(starts), dim))
    return mean_rest(g, g.node("Transpose", stacked, perm=[0, 2, 1])), dim


def _lead_in(g: GraphWriter, wave: str, how: Frontend, spec: ImportSpec) -> tuple[str, int]:
    """The clip with silence before it, and its length in samples."""
    silent = round(how.lead * spec.rate)
    return g.node("Pad", wave, g.ints(0, silent, 0, 0)) if silent else wave, spec.samples + silent


def _frame_shape(shape: Dims) -> tuple[int, int]:
    """Frames and bins of a frontend's output [N, frames, bins], give or take dimensions of 1."""
    match [d for d in shape[1:] if d != 1]:
        case [int(count), int(bins)]:
            return count, bins
    message = f"The frontend's output is {show(shape)}, not [N, frames, bins] of known size: export it so."
    raise InvalidInput(message, code="frontend", param="frontend")
