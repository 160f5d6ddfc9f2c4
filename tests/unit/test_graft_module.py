"""A graph as a torch module: what becomes a parameter, what is refused, and what is written back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import JobFailed
from models.runtime import open_session

torch = pytest.importorskip("torch")

from training.graft.module import GraphModule, write_back  # noqa: E402 (after torch is known to be there)


def model(nodes: Sequence[onnx.NodeProto], stored: dict[str, Any], dims: Sequence[Any]) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value("x", TensorProto.FLOAT, dims)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def dense() -> onnx.ModelProto:
    """y = gelu-like(x W + b) / 2, with names as exporters write them."""
    draw = np.random.default_rng(0)
    stored = {
        "net.0.weight": draw.normal(size=(3, 4)).astype(np.float32),
        "net.0.bias": draw.normal(size=4).astype(np.float32),
        "half": np.float32(0.5),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "net.0.weight"], ["a"]),
        helper.make_node("Add", ["a", "net.0.bias"], ["b"]),
        helper.make_node("Mul", ["b", "half"], ["c"]),
        helper.make_node("Unsqueeze", ["c", "axis"], ["d"]),
        helper.make_node("Squeeze", ["d", "axis"], ["y"]),
    ]
    return model(nodes, stored, ["N", 3])


def test_weights_are_parameters_and_numbers_of_formulas_are_not() -> None:
    module = GraphModule(dense())
    assert list(module.weights) == ["net.0.weight", "net.0.bias"]
    assert [buffer.item() for buffer in module.buffers()] == [0.5]
    assert (module.inputs, module.outputs) == (("x",), ("y",))


def test_other_weights_may_stand_in() -> None:
    module = GraphModule(dense())
    x = torch.randn(5, 3)
    doubled = {"net.0.weight": 2 * module.weights["net.0.weight"]}
    got = module({"x": x}, doubled)["y"].detach().numpy()
    written = open_session(write_back(module, doubled)).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(got, written, rtol=1e-5)
    assert np.abs(got - module({"x": x})["y"].detach().numpy()).max() > 0.1


def test_unknown_operators_are_named_at_once() -> None:
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)]
    with pytest.raises(JobFailed, match="LSTM") as caught:
        GraphModule(model(nodes, {}, ["N", 3, 3]))
    assert caught.value.code == "unsupported_operator"
    foreign = [helper.make_node("Relu", ["x"], ["y"], domain="com.example")]
    with pytest.raises(JobFailed, match="Relu"):
        GraphModule(model(foreign, {}, ["N", 3]))


def test_statistics_stay_even_where_the_exporter_shared_them_with_a_bias() -> None:
    stored = {name: np.full(3, number, np.float32) for name, number in (("zeros", 0), ("ones", 1))}
    nodes = [
        helper.make_node("Identity", ["zeros"], ["mean"]),
        helper.make_node("BatchNormalization", ["x", "ones", "zeros", "mean", "ones"], ["y"]),
    ]
    module = GraphModule(model(nodes, stored, ["N", 3, 2]))
    assert set(module.weights) == {"ones", "zeros"}
    module.train()
    x = torch.randn(4, 3, 2)
    np.testing.assert_allclose(module({"x": x})["y"].detach(), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    with torch.no_grad():
        module.weights["zeros"] += 1
    np.testing.assert_allclose(module({"x": x})["y"].detach(), x / np.sqrt(1 + 1e-5) + 1, rtol=1e-5)


def test_weights_kept_in_constants_are_weights() -> None:
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "two"], ["y"]),
    ]
    module = GraphModule(model(nodes, {}, ["N", 3]))
    assert list(module.weights) == ["w"]
    written = open_session(write_back(module)).run(None, {"x": np.ones((1, 3), np.float32)})[0]
    np.testing.assert_array_equal(written, [[2, 2, 2]])


def test_the_deviation_of_a_silent_channel_has_a_slope() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])]
    module = GraphModule(model(nodes, {"w": np.zeros((3, 2), np.float32)}, ["N", 3]))
    module({"x": torch.ones(2, 3)})["y"].sum().backward()
    assert module.weights["w"].grad is not None
    assert module.weights["w"].grad.abs().max() == 0
