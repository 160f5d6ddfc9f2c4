"""Unlike everything the model learnt from: told to who asks, whoever shares the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.model import LoadedModel, Prediction
from models.errors import CorruptArtefact
from models.novelty import Novelty
from tests.trunks import DIMS, FakeShelf, FakeTrunk, card, head_onnx, loaded, manifest
from training.novelty import Examples, fit_novelty

USUAL = [bytes([97 + i % 5] * (3 + i % 4)) for i in range(40)]
STRANGE = [b"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", b"{}{}{}{}{}{}{}{}{}{}"]


@pytest.fixture
def trunk() -> FakeTrunk:
    return FakeTrunk(card())


@pytest.fixture
def engine(trunk: FakeTrunk) -> Iterator[Engine]:
    shelf = FakeShelf(trunk)
    engine = Engine(shelf, lanes=2, max_batch=8, open_trunk=shelf.open)
    yield engine
    engine.close()


def knowing(trunk: FakeTrunk, tap: str = "top") -> LoadedModel:
    """A model that learnt from the usual texts."""
    X = trunk.run([np.frombuffer(text, np.uint8) for text in USUAL], [tap])[tap]
    found = fit_novelty(Examples(X))
    assert found is not None
    made_for = manifest(trunk.card, tap=tap)
    return LoadedModel.load(made_for, 1, head_onnx(made_for), novelty=found[0].to_bytes())


def test_strangers_are_unknown_whoever_shares_the_batch(trunk: FakeTrunk, engine: Engine) -> None:
    models = [knowing(trunk), knowing(trunk, "low"), loaded(manifest(trunk.card))]

    async def ask() -> list[Prediction]:
        asked = (engine.predict(model, [text], unknown=True) for model in models for text in USUAL + STRANGE)
        return await asyncio.gather(*asked)

    found = [prediction.unknown for prediction in asyncio.run(ask())]
    one, other, mute = (found[i : i + 42] for i in (0, 42, 84))
    assert mute == [None] * 42
    for told in (one, other):
        assert [bool(answer[0]) for answer in told[40:]] == [True, True]
        assert sum(bool(answer[0]) for answer in told[:40]) <= 2


def test_many_inputs_of_a_request_are_told_apart(trunk: FakeTrunk, engine: Engine) -> None:
    found = engine.predict_sync(knowing(trunk), [USUAL[0], *STRANGE, USUAL[1]], unknown=True).unknown
    assert found is not None
    assert found.tolist() == [False, True, True, False]


def test_who_does_not_ask_is_not_told(trunk: FakeTrunk, engine: Engine) -> None:
    assert engine.predict_sync(knowing(trunk), STRANGE).unknown is None


def test_a_novelty_that_breaks_leaves_the_answer(
    trunk: FakeTrunk, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Novelty):
        def unknown(self, X: np.ndarray, outputs: np.ndarray) -> np.ndarray:
            raise RuntimeError("no room")

    whole = knowing(trunk)
    assert whole.novelty is not None
    broken = replace(whole, novelty=Broken(**vars(whole.novelty)))
    answer = engine.predict_sync(broken, USUAL[:3], unknown=True)
    assert answer.unknown is None
    np.testing.assert_allclose(answer.outputs, engine.predict_sync(whole, USUAL[:3]).outputs, atol=1e-6)
    assert "novelty of" in caplog.text


def test_its_memory_is_counted(trunk: FakeTrunk) -> None:
    model = knowing(trunk)
    assert model.novelty is not None
    assert model.nbytes == model.head.nbytes + model.novelty.nbytes
    assert model.novelty.nbytes >= 40 * DIMS["top"]


def test_a_novelty_of_another_tap_is_refused(trunk: FakeTrunk) -> None:
    told = knowing(trunk, "low").novelty
    assert told is not None
    made_for = manifest(trunk.card)
    with pytest.raises(CorruptArtefact):
        LoadedModel.load(made_for, 1, head_onnx(made_for), novelty=told.to_bytes())


def test_a_novelty_that_breaks_among_many_models_leaves_the_others(
    trunk: FakeTrunk, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = knowing(trunk), knowing(trunk)
    assert broken.novelty is not None
    cut = replace(broken.novelty.support, mean=np.empty(0, np.float32))
    broken = replace(broken, novelty=replace(broken.novelty, support=cut))
    shelf = FakeShelf(trunk)
    engine = Engine(shelf, lanes=1, max_batch=8, open_trunk=shelf.open)

    async def ask() -> list[Prediction]:
        held = asyncio.create_task(engine.predict(whole, [b"held"]))
        while not trunk.batches:
            await asyncio.sleep(0.001)
        asked = [asyncio.create_task(engine.predict(m, STRANGE[:1], unknown=True)) for m in (whole, broken)]
        while engine.stats().waiting < 2:
            await asyncio.sleep(0.001)
        trunk.gate.set()
        return (await asyncio.gather(held, *asked))[1:]

    trunk.batches.clear()
    trunk.gate.clear()
    told, mute = asyncio.run(ask())
    engine.close()
    assert told.unknown is not None
    assert told.unknown.tolist() == [True]
    assert mute.unknown is None
    assert "together" in caplog.text
