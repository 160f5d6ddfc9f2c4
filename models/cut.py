"""A backbone cut in two at a tap: a trunk that everybody shares, and a tail that may be trained.

Taps are pooled, so the cut lies below the tap's pooling: its *edges* are the tensors that the steps above
need. What belongs to the tail is told by the weights: the steps with weights that depend on a step with
weights below the tap. All other steps with weights stay in the trunk. Steps without weights may be on
either side, or on both; `models.edges` chooses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from models.edges import cheapest_edges
from models.graphs import check_outputs, constants, extract, following, needed, open_inputs
from models.layouts import Layout

INPUT = "input"
"""The pseudo-tap below everything: the tail is the whole graph."""

_EDGE = re.compile(r"edge_\d+")
Edges = Mapping[str, Layout | None]
"""The tensors that cross, in the graph's order. None: it is taken as the graph declares it."""


@dataclass(frozen=True)
class Cut:
    """`trunk`: inputs of the graph -> `edges`; `tail`: `edges` -> the top tap's features [N, D].

    An edge that is an input of the graph keeps its name and passes through the trunk as it is; the others
    are `edge_0`, `edge_1`, ... in the graph's order. All lead with the batch.
    """

    trunk: bytes
    tail: bytes
    edges: tuple[str, ...]


def cut(graph: bytes, tap: str, top: str) -> Cut:
    """Cut below the pooling of `tap`; trunk and tail together compute the output `top`.

    At `INPUT` the edges are the graph's inputs. Where nothing above the tap has weights, as at `top`
    itself, the one edge is the features of `top`, and the tail passes them on. Equal graphs give equal
    bytes. Raises ValueError for a tap that the graph does not have.
    """
    import onnx

    model = onnx.load_model_from_string(graph)
    check_outputs(model, {tap, top} - {INPUT})
    edges = _edges(model, tap, top)
    names = _names(model, edges)
    return Cut(
        trunk=_trunk(model, edges, names).SerializeToString(deterministic=True),
        tail=_tail(model, edges, names, top).SerializeToString(deterministic=True),
        edges=tuple(names.values()),
    )


def weighted_above(model: Any, tap: str, top: str) -> set[int]:
    """Indices of the nodes with weights in the tail of a cut at `tap`."""
    nodes = model.graph.node
    whole = weighted(model) & needed(nodes, [top])
    below = set() if tap == INPUT else whole & needed(nodes, [tap])
    return (whole & following(nodes, below)) - below if below else whole


def weighted(model: Any) -> set[int]:
    """Indices of the nodes that apply weights to data: more than one number, floating or of 8 bits."""
    weights = {tensor.name for tensor in model.graph.initializer if _is_weight(tensor)}
    fixed = constants(model)
    found = set()
    for index, node in enumerate(model.graph.node):
        if fixed.issuperset(node.output):  # a constant, or a weight turned round
            held = any(_is_weight(a.t) for a in node.attribute if node.op_type == "Constant")
            weights.update(node.output if held or weights.intersection(node.input) else ())
        elif weights.intersection(node.input):
            found.add(index)
    return found


def _is_weight(tensor: Any) -> bool:
    from onnx import TensorProto

    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT8)
    return tensor.data_type in kinds and math.prod(tensor.dims) > 1


def _edges(model: Any, tap: str, top: str) -> Edges:
    nodes = model.graph.node
    inputs = [value.name for value in open_inputs(model)]
    if tap == INPUT:
        read = {name for index in needed(nodes, [top]) for name in nodes[index].input}
        return {name: None for name in inputs if name in read}
    above = weighted_above(model, tap, top)
    if not above:
        return {top: None}
    found = cheapest_edges(model, following(nodes, above) & needed(nodes, [top]), weighted(model))
    order = [*inputs, *(name for node in nodes for name in node.output)]
    return {name: found[name] for name in order if name in found}


def _names(model: Any, edges: Edges) -> dict[str, str]:
    """What the edges are called: inputs keep their names, others get names that no tensor begins with."""
    inputs = {value.name for value in open_inputs(model)}
    taken = inputs.union(*(node.output for node in model.graph.node))
    begun = {match[0] for name in taken if (match := _EDGE.match(name))}
    fresh = (name for name in map("edge_{}".format, count()) if name not in begun)
    return {edge: edge if edge in inputs else next(fresh) for edge in edges}


def _trunk(model: Any, edges: Edges, names: Mapping[str, str]) -> Any:
    """Inputs of the graph -> edges."""
    trunk = extract(model, edges)
    read = {name for node in trunk.graph.node for name in node.input}.union(edges)
    trunk.graph.input.extend(value for value in open_inputs(model) if value.name in read)
    inner = _inner(edges, names)
    for node in trunk.graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
    for edge, layout in _flat(edges):
        _unflatten(trunk.graph, inner[edge], names[edge], layout)
    trunk.graph.output.extend(_values(model, edges, names))
    return trunk


def _tail(model: Any, edges: Edges, names: Mapping[str, str], top: str) -> Any:
    """Edges -> features."""
    from onnx import helper

    tail = extract(model, [top], given=edges)
    tail.graph.input.extend(_values(model, edges, names))
    tail.graph.output.extend(value for value in model.graph.output if value.name == top)
    inner = _inner(edges, names)
    for node in tail.graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
    for edge, layout in _flat(edges):
        _flatten(tail.graph, names[edge], inner[edge], layout)
    if top in edges:
        tail.graph.node.append(helper.make_node("Identity", [names[top]], [top]))
    return tail


def _inner(edges: Edges, names: Mapping[str, str]) -> dict[str, str]:
    """The names of the edges inside trunk and tail, where a flat one is flat."""
    flat = dict(_flat(edges))
    return {edge: f"{name}_flat" if edge in flat else name for edge, name in names.items()}


def _flat(edges: Edges) -> list[tuple[str, Layout]]:
    return [(edge, layout) for edge, layout in edges.items() if layout and layout.flat]


def _unflatten(graph: Any, flat: str, edge: str, layout: Layout) -> None:
    """[N * k, d] -> [N, k, d], at the end."""
    from onnx import helper

    graph.initializer.append(_ints(f"{edge}_first", [0]))
    graph.initializer.append(_ints(f"{edge}_rest", [-1, *layout.row[1:]]))
    graph.node.append(helper.make_node("Shape", [graph.input[0].name], [f"{edge}_batch"]))
    graph.node.append(helper.make_node("Gather", [f"{edge}_batch", f"{edge}_first"], [f"{edge}_count"]))
    graph.node.append(helper.make_node("Concat", [f"{edge}_count", f"{edge}_rest"], [f"{edge}_dims"], axis=0))
    graph.node.append(helper.make_node("Reshape", [flat, f"{edge}_dims"], [edge]))


def _flatten(graph: Any, edge: str, flat: str, layout: Layout) -> None:
    """[N, k, d] -> [N * k, d], at the beginning."""
    from onnx import helper

    graph.initializer.append(_ints(f"{edge}_dims", [-1, *layout.row[1:]]))
    graph.node.insert(0, helper.make_node("Reshape", [edge, f"{edge}_dims"], [flat]))


def _ints(name: str, values: Sequence[int | None]) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, np.int64), name)


def _values(model: Any, edges: Edges, names: Mapping[str, str]) -> list[Any]:
    """Name, type and shape of each edge."""
    declared = {value.name: value for value in (*model.graph.output, *open_inputs(model))}
    return [_value(names[edge], layout, declared.get(edge)) for edge, layout in edges.items()]


def _value(name: str, layout: Layout | None, declared: Any) -> Any:
    import onnx
    from onnx import helper

    if layout is None or declared is not None:
        value = onnx.ValueInfoProto()
        value.CopyFrom(declared)
        value.name = name
        return value
    free = [f"{name}_{axis}" if n is None else n for axis, n in enumerate(layout.row, start=1)]
    kind = helper.np_dtype_to_tensor_dtype(layout.dtype)
    return helper.make_tensor_value_info(name, kind, ["N", *free])
