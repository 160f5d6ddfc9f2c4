"""Every request gets its own answer, whoever it shares a batch with."""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.model import LoadedModel
from app.engine.stats import Stats
from app.engine.trunks import Trunk
from app.engine.work import Ask, Item, Work, divide
from models.errors import CorruptArtefact, InvalidRequest, NotFound, Unavailable
from models.runtime import Backbone
from tests.trunks import (
    DIMS,
    POINTS,
    FakeShelf,
    FakeTrunk,
    affine_onnx,
    card,
    golden,
    loaded,
    manifest,
    signal_backbone,
)

TEXTS = [bytes(random.Random(i).choices(b"abcdefgh ", k=1 + i % 23)) for i in range(60)]


@pytest.fixture
def trunk() -> FakeTrunk:
    return FakeTrunk(card())


@pytest.fixture
def engine(trunk: FakeTrunk) -> Iterator[Engine]:
    shelf = FakeShelf(trunk)
    engine = Engine(shelf, lanes=2, max_batch=8, open_trunk=shelf.open)
    yield engine
    engine.close()


def test_an_answer_does_not_depend_on_its_company(trunk: FakeTrunk, engine: Engine) -> None:
    model = loaded(manifest(trunk.card))
    together = engine.predict_sync(model, TEXTS).outputs
    alone = np.concatenate([engine.predict_sync(model, [text]).outputs for text in TEXTS])
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    permuted = engine.predict_sync(model, [TEXTS[i] for i in order]).outputs
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(permuted, together[order], atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_models_of_different_tasks_taps_and_class_counts_share_batches(
    trunk: FakeTrunk, engine: Engine
) -> None:
    models = [
        loaded(manifest(trunk.card, classes, task=task, tap=tap, kind=kind), seed=classes)
        for classes, task, tap, kind in (
            (2, "classification", "top", "affine"),
            (9, "classification", "top", "affine"),
            (5, "classification", "top", "graph"),
            (4, "multilabel", "low", "affine"),
            (3, "multilabel", "top", "affine"),
            (1, "regression", "top", "affine"),
            (6, "regression", "low", "graph"),
        )
    ]
    alone = [engine.predict_sync(model, [text]).outputs for model in models for text in TEXTS[:8]]

    async def ask() -> list[np.ndarray]:
        asked = (engine.predict(model, [text]) for model in models for text in TEXTS[:8])
        return [prediction.outputs for prediction in await asyncio.gather(*asked)]

    before = len(trunk.batches)
    for one, shared in zip(alone, asyncio.run(ask()), strict=True):
        np.testing.assert_allclose(shared, one, atol=1e-5)
    assert len(trunk.batches) - before < len(alone) / 2


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_an_affine_head_gives_what_its_graph_gives(trunk: FakeTrunk, engine: Engine, task: str) -> None:
    affine = loaded(manifest(trunk.card, 5, task=task))
    graph = loaded(manifest(trunk.card, 5, task=task, kind="graph"))
    expected = engine.predict_sync(graph, TEXTS).outputs
    np.testing.assert_allclose(engine.predict_sync(affine, TEXTS).outputs, expected, atol=1e-5)


def test_softmax_is_stable_for_large_logits(trunk: FakeTrunk, engine: Engine) -> None:
    made_for = manifest(trunk.card, 2)
    weight = np.full((2, DIMS["top"]), 1e4, np.float32)
    head = affine_onnx(weight, np.array([1e30, -1e30], np.float32), "softmax")
    scores = engine.predict_sync(LoadedModel.load(made_for, 1, head), TEXTS[:1]).outputs
    np.testing.assert_array_equal(scores, [[1, 0]])


def test_the_embedding_is_the_features_at_the_models_tap(trunk: FakeTrunk, engine: Engine) -> None:
    model = loaded(manifest(trunk.card, tap="low"))
    got = engine.predict_sync(model, TEXTS, embedding=True).embedding
    np.testing.assert_allclose(got, engine.embed_sync("text/fake", TEXTS, tap="low"), atol=1e-5)
    assert asyncio.run(engine.embed("text/fake", TEXTS)).shape == (len(TEXTS), DIMS["top"])
    assert engine.predict_sync(model, TEXTS).embedding is None


def test_a_model_nobody_holds_is_freed(trunk: FakeTrunk, engine: Engine) -> None:
    model = loaded(manifest(trunk.card))
    engine.predict_sync(model, TEXTS)
    freed = weakref.ref(model)
    del model
    end = time.monotonic() + 5
    while freed() is not None and time.monotonic() < end:  # a lane may still be on its way back to the queue
        time.sleep(0.001)
    assert freed() is None


def test_what_cannot_be_asked(trunk: FakeTrunk, engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.embed_sync("text/none", TEXTS)
    with pytest.raises(InvalidRequest, match="low, top"):
        engine.embed_sync("text/fake", TEXTS, tap="middle")
    with pytest.raises(InvalidRequest, match="at least one"):
        engine.embed_sync("text/fake", [])
    with pytest.raises(Unavailable, match="not installed"):
        engine.predict_sync(loaded(manifest(card("text/other"))), TEXTS)


def test_a_real_graph_serves_what_training_saw(tmp_path: Path) -> None:
    made = signal_backbone(tmp_path)
    signals = [np.random.default_rng(i).normal(size=POINTS).astype("<f4").tobytes() for i in range(5)]
    features = Backbone(tmp_path).embed(signals, ["top"])["top"]

    class OneShelf:
        def get(self, id: str) -> tuple[object, Path]:
            return made, tmp_path

        by_digest = get

    engine = Engine(OneShelf(), lanes=2)
    try:
        np.testing.assert_allclose(engine.embed_sync(made.id, signals), features, atol=1e-6)
        model = loaded(manifest(made, 2, task="regression"))
        outputs = engine.predict_sync(model, signals).outputs
        engine.warm(model, golden(signals, features, outputs))
        assert engine.device == "cpu"
        assert engine.loaded() == [made.id]
    finally:
        engine.close()


def _warm_arguments(engine: Engine, model: LoadedModel) -> tuple[np.ndarray, np.ndarray]:
    got = engine.predict_sync(model, TEXTS[:4], embedding=True)
    assert got.embedding is not None
    return got.embedding, got.outputs


def test_a_version_that_repeats_its_golden_examples_is_warm(trunk: FakeTrunk, engine: Engine) -> None:
    model = loaded(manifest(trunk.card))
    features, outputs = _warm_arguments(engine, model)
    engine.warm(model, golden(TEXTS[:4], features, outputs + np.float32(5e-4)))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("wrong", ["outputs", "last output", "features", "nan", "shape"])
def test_a_version_that_does_not_is_refused(trunk: FakeTrunk, engine: Engine, task: str, wrong: str) -> None:
    model = loaded(manifest(trunk.card, task=task))
    features, outputs = _warm_arguments(engine, model)
    changed = {
        "outputs": (features, outputs * 1.01 + 0.002),
        "last output": (features, np.vstack([outputs[:-1], outputs[-1:] * 1.01 + 0.002])),
        "features": (features * np.float32(1.01), outputs),
        "nan": (features, np.full_like(outputs, np.nan)),
        "shape": (features, outputs[:, :1]),
    }[wrong]
    with pytest.raises(CorruptArtefact) as caught:
        engine.warm(model, golden(TEXTS[:4], *changed))
    assert caught.value.code == "golden_mismatch"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", golden([], np.empty((0, 6)), np.empty((0, 3)))])
def test_unreadable_golden_examples_are_refused(trunk: FakeTrunk, engine: Engine, data: bytes) -> None:
    with pytest.raises(CorruptArtefact):
        engine.warm(loaded(manifest(trunk.card)), data)


@pytest.mark.parametrize(
    "head",
    [
        b"not a graph",
        affine_onnx(np.zeros((2, DIMS["top"]), np.float32), np.zeros(2, np.float32), "softmax"),
        affine_onnx(np.full((3, DIMS["top"]), np.nan, np.float32), np.zeros(3, np.float32), "softmax"),
    ],
)
def test_a_head_that_is_not_what_its_manifest_says_is_refused(head: bytes) -> None:
    with pytest.raises(CorruptArtefact):
        LoadedModel.load(manifest(card(), 3), 1, head)
    with pytest.raises(CorruptArtefact):
        LoadedModel.load(manifest(card(), 3, kind="graph"), 1, b"not a graph")


def test_an_answer_for_several_inputs_is_never_spread_over_them(trunk: FakeTrunk) -> None:
    """numpy would give one row to all."""
    work = Work(Ask(TEXTS[:3]), Trunk(trunk, Stats(), lambda: None), "top", Future())
    (part,) = divide(Item(work, row, 0) for row in range(3))
    part.outputs = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="answers"):
        work.fill(part)
