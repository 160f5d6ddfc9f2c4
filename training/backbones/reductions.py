"""Make a graph treat the examples of a batch alone.

Audio front ends often end in "nothing below the maximum - 80 dB", and the usual export takes that maximum
over the whole tensor, so that one loud clip would change the features of its neighbours. Here a reduction
over every axis becomes one over all axes but the first. For a batch of one nothing changes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_AXES_ARE_INPUT_SINCE = 18  # for all reductions but ReduceSum, where it is 13


def reduce_per_item(model: onnx.ModelProto) -> None:
    """Rewrite, in place, every reduction over all axes of a tensor whose first dimension is the batch."""
    shapes = {value.name: value.type.tensor_type.shape for value in _values(model)}
    opset = max(o.version for o in model.opset_import)
    changed = False
    for node in model.graph.node:
        if _reduces_everything(node) and _has_batch(shapes.get(node.input[0])):
            axes = list(range(1, len(shapes[node.input[0]].dim)))
            _set_axes(model.graph, node, axes, opset)
            changed = True
    if changed:
        _split_clips(model.graph)


def _values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return [*inferred.value_info, *inferred.input, *inferred.output]


def _reduces_everything(node: onnx.NodeProto) -> bool:
    if not node.op_type.startswith("Reduce"):
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    no_axes = "axes" not in attributes and not any(node.input[1:])
    return no_axes and not attributes.get("noop_with_empty_axes", 0)


def _has_batch(shape: onnx.TensorShapeProto | None) -> bool:
    """At least [N, something], with N known only when the graph runs."""
    return shape is not None and len(shape.dim) >= 2 and not shape.dim[0].HasField("dim_value")


def _set_axes(graph: onnx.GraphProto, node: onnx.NodeProto, axes: list[int], opset: int) -> None:
    as_input = opset >= _AXES_ARE_INPUT_SINCE or (node.op_type == "ReduceSum" and opset >= 13)
    _drop_attributes(node, "keepdims")
    node.attribute.append(helper.make_attribute("keepdims", 1))  # [N, 1, ...]: broadcasts as a scalar does
    if not as_input:
        node.attribute.append(helper.make_attribute("axes", axes))
        return
    name = f"{node.output[0]}/axes"
    graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), name))
    del node.input[1:]
    node.input.append(name)


def _drop_attributes(node: onnx.NodeProto, name: str) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _split_clips(graph: onnx.GraphProto) -> None:
    """Clip takes scalars only; where a bound is computed, say the same with Max and Min."""
    constants = {i.name for i in graph.initializer}
    constants |= {o for n in graph.node if n.op_type == "Constant" for o in n.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        computed = node.op_type == "Clip" and any(b and b not in constants for b in node.input[1:])
        nodes.extend(_max_min(node) if computed else [node])
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _max_min(clip: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Clip(x, low, high) = Min(Max(x, low), high); either bound may be missing."""
    value, low, high = [*clip.input, "", ""][:3]
    (out,) = clip.output
    steps = [(op, bound) for op, bound in (("Max", low), ("Min", high)) if bound]
    nodes = []
    for place, (op, bound) in enumerate(steps):
        result = out if place == len(steps) - 1 else f"{out}/{op}"
        nodes.append(helper.make_node(op, [value, bound], [result]))
        value = result
    return nodes
