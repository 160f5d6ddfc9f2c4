"""Pruning keeps exactly what an output needs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.graphs import prune
from models.runtime import open_session


def two_steps() -> bytes:
    """x -> low = x @ A -> high = low @ B."""
    weights = [
        numpy_helper.from_array(np.full((3, 2), 2, np.float32), "A"),
        numpy_helper.from_array(np.full((2, 4), 3, np.float32), "B"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["low"]),
        helper.make_node("MatMul", ["low", "B"], ["high"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "two",
        [value("x", TensorProto.FLOAT, ["N", 3])],
        [value("low", TensorProto.FLOAT, ["N", 2]), value("high", TensorProto.FLOAT, ["N", 4])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("outputs", "nodes", "weights"),
    [(["low"], 1, {"A"}), (["high"], 2, {"A", "B"}), (["high", "low"], 2, {"A", "B"})],
)
def test_only_what_is_needed_stays(outputs: list[str], nodes: int, weights: set[str]) -> None:
    graph = prune(two_steps(), outputs)
    model = onnx.load_model_from_string(graph)
    onnx.checker.check_model(model)
    assert len(model.graph.node) == nodes
    assert {tensor.name for tensor in model.graph.initializer} == weights
    assert {value.name for value in model.graph.output} == set(outputs)
    x = np.ones((5, 3), np.float32)
    whole, part = open_session(two_steps()), open_session(graph)
    for name in outputs:
        np.testing.assert_array_equal(part.run([name], {"x": x})[0], whole.run([name], {"x": x})[0])


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="middle"):
        prune(two_steps(), ["low", "middle"])
