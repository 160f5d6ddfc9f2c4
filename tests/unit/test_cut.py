"""Where graphs are cut: which steps are above a tap, and what crosses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.cut import INPUT, Cut, cut, weighted, weighted_above
from models.edges import separate
from models.layouts import Layout, layouts
from models.runtime import open_session

Node = tuple[str, list[str], str]


def graph(nodes: Sequence[Node], outputs: Sequence[str], dims: Sequence[Any] = ("N", "L", 3)) -> bytes:
    """Input `x`; constants by their names: W* and V* are 3 x 3, `last` [-1], `flat` [-1, 3]."""
    draw = np.random.default_rng(0)
    used = {name for _, read, _ in nodes for name in read}
    stored = {name: draw.normal(size=(3, 3)).astype(np.float32) for name in used if name[0] in "WV"}
    stored |= {name: np.array(v) for name, v in {"one": [1], "flat": [-1, 3]}.items() if name in used}
    made = [helper.make_node(op, read, [given], **EXTRA.get(op, {})) for op, read, given in nodes]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        made,
        "g",
        [value("x", TensorProto.FLOAT, dims)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


EXTRA: dict[str, dict[str, Any]] = {
    "ReduceMean": {"axes": [1], "keepdims": 0},
    "Concat": {"axis": 1},
    "Transpose": {"perm": [1, 0, 2]},
}
PLAIN: list[Node] = [
    ("MatMul", ["x", "W1"], "a"),
    ("Relu", ["a"], "b"),
    ("ReduceMean", ["b"], "low"),
    ("MatMul", ["b", "W2"], "c"),
    ("ReduceMean", ["c"], "top"),
]


def sides(parts: Cut) -> tuple[list[str], list[str]]:
    return tuple(  # type: ignore[return-value]
        [node.op_type for node in onnx.load_model_from_string(part).graph.node]
        for part in (parts.trunk, parts.tail)
    )


def agree(whole: bytes, parts: Cut, top: str = "top") -> None:
    x = np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32)
    edges = open_session(parts.trunk).run(list(parts.edges), {"x": x})
    assert all(len(edge) == 4 for edge in edges)
    got = open_session(parts.tail).run([top], dict(zip(parts.edges, edges, strict=True)))[0]
    np.testing.assert_allclose(got, open_session(whole).run([top], {"x": x})[0], rtol=1e-5, atol=1e-6)


def test_the_cut_lies_below_the_pooling() -> None:
    whole = graph(PLAIN, ["low", "top"])
    parts = cut(whole, "low", "top")
    assert sides(parts) == (["MatMul", "Relu"], ["MatMul", "ReduceMean"])
    assert parts.edges == ("edge_0",)
    (edge,) = onnx.load_model_from_string(parts.tail).graph.input
    dims = [dim.dim_param or dim.dim_value for dim in edge.type.tensor_type.shape.dim]
    assert dims == ["N", "edge_0_1", 3]
    agree(whole, parts)
    assert parts == cut(whole, "low", "top")


def test_below_everything_the_tail_is_the_whole() -> None:
    whole = graph(PLAIN, ["low", "top"])
    parts = cut(whole, INPUT, "top")
    assert (parts.edges, sides(parts)) == (("x",), ([], ["MatMul", "Relu", "MatMul", "ReduceMean"]))
    agree(whole, parts)


def test_at_the_top_the_tail_passes_features_on() -> None:
    whole = graph(PLAIN, ["low", "top"])
    parts = cut(whole, "top", "top")
    assert sides(parts)[1] == ["Identity"]
    agree(whole, parts)


def test_a_tail_can_be_cut_again() -> None:
    nodes = [*PLAIN[:-1], ("Relu", ["c"], "d"), ("MatMul", ["d", "W3"], "e"), ("ReduceMean", ["d"], "mid")]
    whole = graph([*nodes, ("ReduceMean", ["e"], "top")], ["low", "mid", "top"])
    tail = onnx.load_model_from_string(cut(whole, "low", "top").tail)
    tail.graph.node.append(helper.make_node("ReduceMean", ["d"], ["mid"], axes=[1], keepdims=0))
    tail.graph.output.append(onnx.ValueInfoProto(name="mid"))
    again = cut(tail.SerializeToString(), "mid", "top")
    assert again.edges == ("edge_1",)
    assert sides(again) == (["MatMul", "Relu"], ["MatMul", "ReduceMean"])


def test_flat_tokens_cross_by_examples() -> None:
    nodes: list[Node] = [
        ("Shape", ["x"], "dims"),
        ("Reshape", ["x", "flat"], "tokens"),
        ("MatMul", ["tokens", "W1"], "a"),
        ("Reshape", ["a", "dims"], "shaped"),
        ("ReduceMean", ["shaped"], "low"),
        ("MatMul", ["a", "W2"], "b"),
        ("Reshape", ["b", "dims"], "back"),
        ("ReduceMean", ["back"], "top"),
    ]
    whole = graph(nodes, ["low", "top"])
    parts = cut(whole, "low", "top")
    assert parts.edges == ("x", "edge_0")  # shapes are reckoned again from the input
    agree(whole, parts)


def test_tensors_in_another_order_do_not_cross() -> None:
    nodes: list[Node] = [
        ("MatMul", ["x", "W1"], "a"),
        ("ReduceMean", ["a"], "low"),
        ("Transpose", ["a"], "turned"),
        ("MatMul", ["turned", "W2"], "b"),
        ("Transpose", ["b"], "back"),
        ("ReduceMean", ["back"], "top"),
    ]
    whole = graph(nodes, ["low", "top"])
    parts = cut(whole, "low", "top")
    assert sides(parts)[1][0] == "Transpose"
    agree(whole, parts)


def test_a_branch_beside_the_tap_stays_in_the_trunk() -> None:
    nodes: list[Node] = [
        *PLAIN[:-1],
        ("ReduceMean", ["c"], "high"),
        ("MatMul", ["x", "V"], "beside"),
        ("ReduceMean", ["beside"], "other"),
        ("Concat", ["high", "other"], "top"),
    ]
    whole = graph(nodes, ["low", "top"])
    parts = cut(whole, "low", "top")
    assert sides(parts)[1] == ["MatMul", "ReduceMean", "Concat"]
    assert len(parts.edges) == 2
    agree(whole, parts)


def test_nodes_with_weights_are_found_behind_constants() -> None:
    nodes: list[Node] = [
        ("Identity", ["W1"], "same"),
        ("MatMul", ["x", "same"], "a"),
        ("Relu", ["a"], "b"),
        ("Unsqueeze", ["b", "one"], "c"),
        ("Flatten", ["c"], "top"),
    ]
    model = onnx.load_model_from_string(graph(nodes, ["top"]))
    assert weighted(model) == {1}
    assert weighted_above(model, "top", "top") == set()


def test_a_tap_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="middle"):
        cut(graph(PLAIN, ["low", "top"]), "middle", "top")


def test_how_tensors_lie_is_seen_from_runs() -> None:
    nodes: list[Node] = [
        ("Shape", ["x"], "dims"),
        ("Reshape", ["x", "flat"], "tokens"),
        ("Transpose", ["x"], "turned"),
        ("ReduceMean", ["x"], "mean"),
    ]
    model = onnx.load_model_from_string(graph(nodes, ["mean"]))
    found = layouts(model, ["x", "dims", "tokens", "turned", "mean"])
    kind = np.dtype(np.float32)
    assert found == {
        "x": Layout(kind, (None, 3), flat=False, size=84),
        "tokens": Layout(kind, (None, 3), flat=True, size=84),
        "mean": Layout(kind, (3,), flat=False, size=12),
    }


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"a": 1, "b": 9, "c": 9, "d": 9}, {"a"}),
        ({"a": 9, "b": 3, "c": 3, "d": 9}, {"b", "c"}),
        ({"a": 9, "b": 4, "c": 5, "d": 9}, {"d"}),
        ({"a": 9, "b": 3, "d": 9}, {"d"}),
    ],
)
def test_the_cheapest_tensors_separate(sizes: dict[str, int], expected: set[str]) -> None:
    steps = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    assert separate(steps, {"d"}, sizes) == expected
