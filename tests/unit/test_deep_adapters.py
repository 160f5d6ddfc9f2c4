"""Low-rank changes: which weights they are of, where they begin, and what is left of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="adapters are torch's")

from tests import deep_jobs  # noqa: E402
from training.deep.adapters import LowRank, matrices  # noqa: E402
from training.frame import Frame  # noqa: E402
from training.graft.module import GraphModule, write_back  # noqa: E402
from training.heads import AffineHead  # noqa: E402

HEAD = AffineHead(np.ones((2, deep_jobs.TOP)), np.zeros(2), "softmax")
FRAME = Frame(np.zeros(deep_jobs.TOP), 1.0, None)


def low_rank(rank: int) -> LowRank:
    torch.manual_seed(0)
    module = GraphModule(onnx.load_model_from_string(deep_jobs.graph(deep_jobs.weights())))
    return LowRank(module, "top", HEAD, FRAME, names=["w_low", "w_top"], rank=rank, alpha=3.0)


def test_training_begins_with_the_weights_themselves() -> None:
    network = low_rank(2)
    for name, weight in network.weights().items():
        assert torch.equal(weight, network.tail.weights[name])


@pytest.mark.parametrize(("rank", "kept"), [(2, 2), (100, 4)])
def test_a_change_is_alpha_over_rank_times_a_product(rank: int, kept: int) -> None:
    network = low_rank(rank)
    with torch.no_grad():
        for left in network.left:
            left += 1.0
    weight = network.weights()["w_low"] - network.tail.weights["w_low"]
    wanted = 3.0 / kept * torch.ones(deep_jobs.POINTS, kept) @ network.right[0]
    torch.testing.assert_close(weight, wanted)


def test_the_graph_that_is_written_has_no_trace() -> None:
    network = low_rank(1)
    with torch.no_grad():
        network.left[1] += 0.5
    data = write_back(network.tail, network.weights())
    found = deep_jobs.stored(data)
    assert set(found) == {"w_low", "w_top"}
    np.testing.assert_allclose(found["w_top"], network.weights()["w_top"].detach().numpy())
    x = torch.randn(3, deep_jobs.POINTS)
    again = GraphModule(onnx.load_model_from_string(data))
    torch.testing.assert_close(again({"x": x})["top"], network.features({"x": x}))


def test_only_factors_and_head_learn() -> None:
    network = low_rank(2)
    groups = network.groups({"w_low": 0.1, "w_top": 0.2}, 0.3)
    assert [group["lr"] for group in groups] == [0.1, 0.2, 0.3]
    assert not any(weight.requires_grad for weight in network.tail.weights.values())
    assert sum(len(group["params"]) for group in groups) == 4 + 2


def test_matrices_are_what_multiplies_data() -> None:
    shapes = {"kernel": (4, 2, 3, 3), "depthwise": (4, 1, 3, 3), "bias": (4,), "table": (8, 4), "gain": (4,)}
    numbers = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"]),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], group=4),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Mul", ["d", "gain"], ["e"]),
        helper.make_node("Gemm", ["e", "table"], ["top"], transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 2, 8, 8])],
        [value("top", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(number, name) for name, number in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    assert matrices(GraphModule(model)) == ["kernel", "table"]
