"""Examples through the trunk, batches through the tail: texts of mixed lengths, in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.backbone import GRAPH
from models.cut import INPUT, cut
from models.runtime import Backbone, open_session
from tests import trunks

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests import families  # noqa: E402 (after torch is known to be there)
from training.graft import tail as tails  # noqa: E402
from training.graft.blocks import Block, blocks  # noqa: E402
from training.graft.module import GraphModule  # noqa: E402
from training.graft.tail import open_tail  # noqa: E402

WORDS = ("the", "cat", "sat", "on", "a", "mat", "dog", "ran", "under", "moon")
LENGTHS = (3, 12, 1, 7, 3, 12, 5)


@pytest.fixture(scope="module", params=["Bert", "Roberta", "Albert", "MPNet", "bert-flat"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = families.make(request.param, tmp_path_factory.mktemp("text")).folder
    assert folder is not None
    return folder


def texts() -> list[bytes]:
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(WORDS, length)).encode() for length in LENGTHS]


@pytest.mark.parametrize("tap", [INPUT, "layer_0", "layer_1", "sentence"])
@pytest.mark.parametrize("chunk", [2, 32])
def test_features_do_not_depend_on_chunks_or_company(
    folder: Path, tap: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "CHUNK", chunk)
    backbone, tail = Backbone(folder), open_tail(folder, tap)
    expected = backbone.embed(texts(), ["sentence"])["sentence"]
    seen: list[tuple[int, int]] = []
    rows = tail.edges([backbone.preprocessor.prepare(text) for text in texts()], lambda *at: seen.append(at))
    assert (len(rows), seen[-1]) == (len(LENGTHS), (len(LENGTHS), len(LENGTHS)))
    with torch.no_grad():
        for some in ([0], [2, 1], [6, 0, 3, 2], range(len(LENGTHS))):
            got = tail.features(rows.batch(some)).numpy()
            np.testing.assert_allclose(got, expected[list(some)], atol=1e-5 * np.abs(expected).max())


def test_a_chain_of_signals_is_opened_at_each_tap(tmp_path: Path) -> None:
    folder = tmp_path / "signal/tiny"
    trunks.signal_backbone(folder)
    signals = list(np.random.default_rng(0).normal(size=(5, trunks.POINTS)).astype(np.float32))
    backbone = Backbone(folder)
    expected = backbone.run(signals, ["top", "low"])
    for tap, weights in ((INPUT, ["w_low", "w_top"]), ("low", ["w_top"]), ("top", [])):
        tail = open_tail(folder, tap)
        assert list(tail.module.weights) == weights
        got = tail.features(tail.edges(signals).batch([4, 0])).detach().numpy()
        np.testing.assert_allclose(got, expected["top"][[4, 0]], rtol=1e-5)
    lower = open_tail(folder, INPUT, top="low")
    np.testing.assert_allclose(
        lower.features(lower.edges(signals).batch([1])).detach(), expected["low"][[1]], rtol=1e-5
    )


def test_blocks_lie_between_taps(tmp_path: Path) -> None:
    trunks.signal_backbone(tmp_path / "tiny")
    graph = (tmp_path / "tiny" / GRAPH).read_bytes()
    assert blocks(graph, [INPUT, "low", "top"]) == [Block(INPUT, ("w_low",)), Block("low", ("w_top",))]
    assert blocks(graph, ["low", "top"]) == [Block("low", ("w_top",))]
    with pytest.raises(ValueError, match="middle"):
        blocks(graph, ["middle", "top"])


def test_training_a_tail_leaves_its_trunk_and_the_file_alone(folder: Path) -> None:
    tail = open_tail(folder, "layer_1")
    file = (folder / GRAPH).read_bytes()
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(file).graph.initializer}
    known = [name for name in tail.module.weights if name in stored]
    assert known
    rows = tail.edges([np.array([2, 5, 6, 3]), np.array([2, 7, 3])])
    step(tail, rows.batch([0, 1]))
    assert (folder / GRAPH).read_bytes() == file
    moved = [name for name in known if not np.array_equal(stored[name], numbers(tail.module.weights[name]))]
    assert moved == known


def step(tail: tails.Tail, batch: dict[str, Any]) -> None:
    optimiser = torch.optim.Adam(tail.module.parameters(), lr=1e-2)
    features = tail.features(batch)
    (features * torch.arange(features.numel()).reshape(features.shape)).sum().backward()
    optimiser.step()


def numbers(weight: Any) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = weight.detach().numpy()
    return found


class Tokens:
    """A preprocessor of token ids that pads with zeros."""

    prepare = staticmethod(lambda content: np.frombuffer(content, np.int8).astype(np.int64))
    size = staticmethod(len)

    @staticmethod
    def collate(batch: Any) -> dict[str, Any]:
        mask = np.arange(max(map(len, batch))) < np.array([[len(one)] for one in batch])
        ids = np.zeros(mask.shape, np.int64)
        ids[mask] = np.concatenate(batch)
        return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


def loudest_token() -> bytes:
    """The largest of the kept tokens' values; a token that is not kept has a penalty, made in the trunk."""
    draw = np.random.default_rng(0)
    stored = {
        "table": draw.normal(size=(9, 4)).astype(np.float32) - 3,
        "penalties": np.array([[-1e4], [0]], np.float32),
        "weight": np.eye(4, dtype=np.float32),
    }
    nodes = [
        ("Gather", ["table", "input_ids"], "tokens"),
        ("Gather", ["penalties", "attention_mask"], "penalty"),
        ("Add", ["tokens", "penalty"], "low_tokens"),
        ("ReduceMax", ["low_tokens"], "low"),
        ("MatMul", ["tokens", "weight"], "turned"),
        ("Add", ["turned", "penalty"], "kept"),
        ("ReduceMax", ["kept"], "top"),
    ]
    value = helper.make_tensor_value_info
    ids = [value(name, TensorProto.INT64, ["N", "L"]) for name in ("input_ids", "attention_mask")]
    made = [
        helper.make_node(op, read, [out], **({"axes": [1], "keepdims": 0} if op == "ReduceMax" else {}))
        for op, read, out in nodes
    ]
    outputs = [value(name, TensorProto.FLOAT, ["N", 4]) for name in ("low", "top")]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    model = helper.make_model(
        helper.make_graph(made, "g", ids, outputs, tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


def test_padding_is_what_the_trunk_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A penalty of 0 for places added later would let them count: here they must have that of padding."""
    monkeypatch.setattr(tails, "CHUNK", 1)
    graph = loudest_token()
    parts = cut(graph, "low", "top")
    assert len(parts.edges) == 2
    module = GraphModule(onnx.load_model_from_string(parts.tail))
    tail = tails.Tail(parts, module, "top", Tokens(), open_session(parts.trunk))
    prepared = [np.arange(1, length) % 9 for length in (3, 5, 9, 4)]
    got = tail.features(tail.edges(prepared).batch(range(4))).detach().numpy()
    expected = [open_session(graph).run(["top"], Tokens.collate([one]))[0][0] for one in prepared]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
