"""Models with blocks of their own: the trunk below the cut runs once for all, each tail on its rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.engine.engine import Engine
from app.engine.model import LoadedModel
from models.manifest import Head
from tests.trunks import DIMS, FakeShelf, FakeTrunk, card, loaded, manifest

TAP, DIM = next(iter(DIMS.items()))
CLASSES = 3


def tail_onnx(seed: int, broken: bool = False) -> bytes:
    """edge_0 [N, DIM] -> scores [N, 3] and features [N, 2]; a broken one wants another width."""
    rng = np.random.default_rng(seed)
    wide = DIM + broken
    arrays = {
        "mix": rng.normal(size=(wide, 2)).astype(np.float32),
        "weight": rng.normal(size=(2, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["edge_0", "mix"], ["tail_embedding"]),
        helper.make_node("MatMul", ["tail_embedding", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tail",
        [helper.make_tensor_value_info("edge_0", TensorProto.FLOAT, ["N", wide])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES]),
            helper.make_tensor_value_info("tail_embedding", TensorProto.FLOAT, ["N", 2]),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def with_tail(made_for: Any, seed: int, broken: bool = False) -> LoadedModel:
    head = Head(kind="tail", activation="softmax", in_dim=2, out_dim=CLASSES)
    return LoadedModel.load(
        made_for.model_copy(update={"tap": TAP, "head": head}), 1, tail_onnx(seed, broken)
    )


@pytest.fixture
def trunk() -> FakeTrunk:
    return FakeTrunk(card())


@pytest.fixture
def engine(trunk: FakeTrunk) -> Iterator[Engine]:
    shelf = FakeShelf(trunk)
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
    yield engine
    engine.close()


def test_a_tail_answers_with_its_own_features(engine: Engine) -> None:
    model = with_tail(manifest(card()), seed=1)
    texts = [b"one", b"another", b"third"]
    together = engine.predict_sync(model, texts, embedding=True)
    assert together.outputs.shape == (3, CLASSES)
    assert together.embedding is not None
    assert together.embedding.shape == (3, 2)
    np.testing.assert_allclose(together.outputs.sum(axis=1), 1, atol=1e-6)
    for i, text in enumerate(texts):
        alone = engine.predict_sync(model, [text], embedding=True)
        np.testing.assert_allclose(alone.outputs[0], together.outputs[i], atol=1e-6)


def test_tails_and_heads_share_a_batch(engine: Engine, trunk: FakeTrunk) -> None:
    """Whatever runs together, each model answers as it does alone."""
    made_for = manifest(card())
    models = [with_tail(made_for, 1), loaded(made_for), with_tail(made_for, 2)]
    alone = [engine.predict_sync(model, [b"some words"]).outputs for model in models]
    while trunk.entered.acquire(blocking=False):
        pass
    trunk.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(engine.predict_sync, loaded(made_for), [b"holds the lane"])
        trunk.entered.acquire()
        asked = [pool.submit(engine.predict_sync, model, [b"some words"]) for model in models * 2]
        while engine.stats().waiting < len(asked):
            pass
        trunk.gate.set()
        first.result(10)
        for future, expected in zip(asked, alone * 2, strict=True):
            np.testing.assert_allclose(future.result(10).outputs, expected, atol=1e-6)


def test_a_broken_tail_fails_its_own_requests_only(engine: Engine) -> None:
    made_for = manifest(card())
    with pytest.raises(Exception, match="failed on this batch"):
        engine.predict_sync(with_tail(made_for, 1, broken=True), [b"text"])
    assert engine.predict_sync(with_tail(made_for, 1), [b"text"]).outputs.shape == (1, CLASSES)
