"""Where pooled features are taken in a stranger's graph, and that they are what the formula says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from models.backbone import BackboneCard
from models.runtime import Backbone, open_session
from tests import onnx_models as tiny
from training.backbones import onnx_import, probe
from training.backbones.adapt import adapt
from training.backbones.onnx_import import import_onnx
from training.backbones.operators import load_model
from training.backbones.part import choose_part
from training.backbones.places import stage_ends
from training.backbones.spec import read_spec

Node = tuple[str, list[str], str]


def places(nodes: list[Node], dims: list[Any], **extra: dict[str, Any]) -> list[tuple[str, bool]]:
    """Tensors found between `x` [N, ...] and `y`, and whether their channels come last."""
    made = [helper.make_node(op, read, [given], **extra.get(op, {})) for op, read, given in nodes]
    square = np.eye(4, dtype=np.float32)
    weights = {"w": square, "k": square[:, :, None], "flat": np.array([0, -1])}
    used = {name: value for name, value in weights.items() if any(name in node.input for node in made)}
    graph = helper.make_graph(
        made,
        "g",
        [tiny.value("x", dims)],
        [onnx.ValueInfoProto(name="y")],
        [onnx.numpy_helper.from_array(array, name) for name, array in used.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = stage_ends(onnx.shape_inference.infer_shapes(model), "x", "y")
    assert [place.depth for place in found] == sorted(place.depth for place in found)
    return [(place.tensor, place.last) for place in found]


def test_a_branch_that_is_gone_round_is_no_place() -> None:
    nodes: list[Node] = [
        ("Conv", ["x", "k"], "a"),
        ("Conv", ["a", "k"], "inside"),
        ("Add", ["a", "inside"], "b"),
        ("GlobalAveragePool", ["b"], "y"),
    ]
    assert places(nodes, ["N", 4, 8]) == [("b", False)]


def test_each_resolution_ends_once() -> None:
    nodes: list[Node] = [
        ("Conv", ["x", "k"], "a"),
        ("Conv", ["a", "k"], "b"),
        ("MaxPool", ["b"], "c"),
        ("Conv", ["c", "k"], "d"),
        ("GlobalAveragePool", ["d"], "y"),
    ]
    pool = {"kernel_shape": [2], "strides": [2]}
    assert places(nodes, ["N", 4, 16], MaxPool=pool) == [("b", False), ("d", False)]


def test_tokens_have_quarters_and_what_only_tells_a_shape_is_no_branch() -> None:
    nodes: list[Node] = [("Shape", ["x"], "shape"), ("MatMul", ["x", "w"], "t0")]
    nodes += [("MatMul", [f"t{n}", "w"], f"t{n + 1}") for n in range(8)]
    nodes += [("Reshape", ["t8", "shape"], "t9"), ("MatMul", ["t9", "w"], "y")]
    assert [name for name, _ in places(nodes, ["N", "L", 4])] == ["t1", "t3", "t5", "t7"]
    assert all(last for _, last in places(nodes, ["N", "L", 4]))


BOTH_WAYS: list[Node] = [
    ("Conv", ["a", "k"], "b"),
    ("MatMul", ["a", "w"], "c"),
    ("Add", ["b", "c"], "y"),
]


@pytest.mark.parametrize(
    "nodes",
    [
        [("Relu", ["x"], "a"), ("Relu", ["a"], "y")],  # nothing tells the channels
        [("Conv", ["x", "k"], "a"), *BOTH_WAYS],
        [("MaxPool", ["x"], "a"), ("GlobalAveragePool", ["a"], "y")],  # nothing is learnt
        [("Flatten", ["x"], "a"), ("MatMul", ["a", "w"], "y")],  # vectors need no pooling
    ],
)
def test_where_nothing_is_sure_nothing_is_offered(nodes: list[Node]) -> None:
    assert places(nodes, ["N", 4, 4], MaxPool={"kernel_shape": [2]}) == []


def test_an_import_offers_its_stages_in_both_forms(tmp_path: Path) -> None:
    path = tiny.staged_model(tmp_path / "m.onnx")
    spec = read_spec(tiny.IMAGE_SPEC | {"pool": "channels_first"}, "image")
    model = adapt(choose_part(load_model(path), None, "map"), spec)
    assert [(tap.name, tap.dim) for tap in model.taps] == [
        ("stem", 5),
        ("stem_stat", 10),
        ("stage1", 6),
        ("stage1_stat", 12),
        ("embedding_stat", 14),
        ("embedding", 7),
    ]
    images = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)
    whole = onnx.load(path)
    whole.graph.output.append(tiny.value("b", ("n", 6, 4, 4)))
    (states,) = open_session(whole.SerializeToString()).run(["b"], {"x": images})
    expected = np.concatenate([states.mean((2, 3)), states.std((2, 3))], axis=1)
    got = open_session(model.graph).run(["stage1", "stage1_stat"], {"image": images})
    np.testing.assert_allclose(got[0], expected[:, :6], atol=1e-6)
    np.testing.assert_allclose(got[1], expected, atol=1e-6)


def tokens(path: Path) -> Path:
    """Token ids -> five times a table's rows through a matrix, [N, L, 6]."""
    draw = np.random.default_rng(0)
    weights = {"table": draw.normal(size=(128, 6)).astype(np.float32), "last": np.array([-1], np.int64)}
    weights["w"] = draw.normal(size=(6, 6)).astype(np.float32) / 3
    nodes = [helper.make_node("Gather", ["table", "ids"], ["t0"])]
    nodes += [helper.make_node("MatMul", [f"t{n}", "w"], [f"t{n + 1}"]) for n in range(5)]
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["keep"]),
        helper.make_node("Mul", ["t5", "keep"], ["tokens"]),
    ]
    ids = [tiny.value(name, ("b", "l"), onnx.TensorProto.INT64) for name in ("ids", "attention_mask")]
    return tiny.save(path, nodes, ids, [tiny.value("tokens", ("b", "l", 6))], weights)


def test_padding_is_left_out_of_means_and_deviations(tmp_path: Path) -> None:
    path = tokens(tmp_path / "m.onnx")
    spec = read_spec({"pool": "channels_last"}, "text")
    model = adapt(choose_part(load_model(path), "ids", None), spec)
    assert [tap.name for tap in model.taps] == [
        *(f"{name}{form}" for name in ("stem", "stage1", "stage2", "stage3") for form in ("", "_stat")),
        "embedding_stat",
        "embedding",
    ]
    ids, mask = np.array([[5, 6, 7], [8, 0, 0]]), np.array([[1, 1, 1], [1, 0, 0]])
    (got,) = open_session(model.graph).run(["stem_stat"], {"input_ids": ids, "attention_mask": mask})
    rows = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])[[5, 6, 7]]
    np.testing.assert_allclose(got[0], np.concatenate([rows.mean(0), rows.std(0)]), atol=1e-6)
    np.testing.assert_allclose(got[1, 6:], 0, atol=1e-6)


def imported(path: Path, root: Path) -> BackboneCard:
    return import_onnx(
        path,
        name="mine",
        modality="image",
        input=None,
        output=None,
        preprocess=tiny.IMAGE_SPEC,
        target_root=root,
    )


def overflowing(path: Path) -> Path:
    """[N, 3, 8, 8] -> a map with infinities, pooled -> [N, 5], clipped to 0 to 1."""
    weights = {
        "u": 1e3 * np.random.default_rng(0).normal(size=(5, 3, 1, 1)).astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "u"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["y"]),
    ]
    dims = [tiny.value("x", ("n", 3, 8, 8))], [tiny.value("y", ("n", 5, 1, 1))]
    return tiny.save(path, nodes, *dims, weights)


def test_where_a_lower_tap_fails_its_trial_the_embedding_is_imported_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_import, "probe", probe.examine)
    path = overflowing(tmp_path / "m.onnx")
    assert len(adapt(choose_part(load_model(path), None, None), read_spec(tiny.IMAGE_SPEC, "image")).taps) > 1
    card = imported(path, tmp_path / "root")
    assert [tap.name for tap in card.taps] == ["embedding"]
    assert imported(path, tmp_path / "root") == card
    assert Backbone(tmp_path / "root/onnx/mine").card == card
