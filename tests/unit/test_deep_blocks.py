"""The main way through a backbone: blocks in order, without its side branches."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="blocks are of trainable graphs")

from models.cut import INPUT
from training.graft.blocks import Block, main_way


def branched() -> bytes:
    """x -> a -> b -> c -> times a gain -> top, and beside it x -> texture -> top."""
    rng = np.random.default_rng(0)
    sizes = {"w_a": (8, 8), "w_b": (8, 8), "w_c": (8, 8), "w_texture": (8, 8), "gain": (2,)}
    nodes = [
        helper.make_node("MatMul", ["x", "w_a"], ["a"]),
        helper.make_node("MatMul", ["x", "w_texture"], ["texture"]),
        helper.make_node("MatMul", ["a", "w_b"], ["b"]),
        helper.make_node("MatMul", ["b", "w_c"], ["c"]),
        helper.make_node("Slice", ["c", "zero", "two", "one"], ["part"]),
        helper.make_node("Mul", ["part", "gain"], ["louder"]),
        helper.make_node("Concat", ["louder", "texture"], ["top"], axis=1),
    ]
    value = helper.make_tensor_value_info
    whole = {"zero": [0], "two": [2], "one": [1]}
    stored = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in sizes.items()]
    stored += [numpy_helper.from_array(np.array(number, np.int64), name) for name, number in whole.items()]
    outputs = {"a": 8, "b": 8, "c": 8, "texture": 8, "top": 10}
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 8])],
        [value(name, TensorProto.FLOAT, ["n", dim]) for name, dim in outputs.items()],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("taps", [["texture", "a", "b", "c"], ["c", "b", "a", "texture"]])
def test_side_branches_begin_no_block_and_small_ones_join(taps: list[str]) -> None:
    assert main_way(branched(), taps, "top") == [
        Block(INPUT, ("w_a", "w_texture")),
        Block("a", ("w_b",)),
        Block("b", ("w_c", "gain")),
    ]


def test_a_small_first_block_joins_the_one_above() -> None:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Mul", ["x", "gain"], ["low"]),
                helper.make_node("MatMul", ["low", "w_1"], ["middle"]),
                helper.make_node("MatMul", ["middle", "w_2"], ["top"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", dim])
                for name, dim in (("low", 2), ("middle", 32), ("top", 8))
            ],
            [
                numpy_helper.from_array(np.ones(shape, np.float32), name)
                for name, shape in (("gain", (2,)), ("w_1", (2, 32)), ("w_2", (32, 8)))
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    found = main_way(bytes(model.SerializeToString()), ["low", "middle"], "top")
    assert found == [Block(INPUT, ("gain", "w_1")), Block("middle", ("w_2",))]
