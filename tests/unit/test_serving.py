"""Rows as /v1/predictions gives them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import numpy as np
import pytest

import app.services.serving
from app.engine.engine import Engine
from app.engine.model import Prediction
from app.services.catalogue import Catalogue
from app.services.serving import Serving, rows
from models.errors import InvalidInput, NotFound, UnsupportedMedia
from models.manifest import Output, PredictionSets
from tests.media import png
from tests.trunks import DIMS, FakeShelf, FakeTrunk, card, loaded, manifest

SCORES = np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], np.float32)
TEXT = card()


def row(index: int, label: object, scores: list[tuple[int, float]]) -> dict[str, object]:
    listed = [{"label": f"label-{i}", "score": score} for i, score in scores]
    return {"index": index, "label": label, "score": scores[0][1], "scores": listed}


def test_classification_rows_are_ranked() -> None:
    assert rows(manifest(TEXT), Prediction(SCORES), top_k=2) == [
        row(0, "label-1", [(1, 0.7), (0, 0.2)]),
        row(1, "label-0", [(0, 0.5), (1, 0.25)]),
    ]


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.9])
def test_few_scores_are_answered_as_many_are(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By lists and by arrays; ties and scores that are the threshold, but for float32, among them."""
    made = manifest(TEXT, 6).model_copy(
        update={"prediction_sets": PredictionSets(level=0.9, threshold=threshold)}
    )
    scores = np.random.default_rng(0).choice(np.array([0, 0.1, 0.25, 0.6], np.float32), (30, 6))
    few = rows(made, Prediction(scores), top_k=6)
    monkeypatch.setattr(app.services.serving, "_FEW_SCORES", 0)
    assert few == rows(made, Prediction(scores), top_k=6)
    assert (max(len(row["set"]) for row in few) > 1) == (threshold < 0.6)


def test_multilabel_rows_name_every_likely_label() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.1, 0.2, 0.3]], np.float32)
    assert rows(manifest(TEXT, task="multilabel"), Prediction(scores), top_k=5) == [
        row(0, ["label-0", "label-2"], [(0, 0.9), (2, 0.5), (1, 0.1)]),
        row(1, [], [(2, 0.3), (1, 0.2), (0, 0.1)]),
    ]


def test_regression_rows_have_a_value_and_its_interval() -> None:
    one = Prediction(np.array([[1.5], [-2.0]], np.float32))
    assert rows(manifest(TEXT, 1, task="regression", interval=0.5), one, top_k=5) == [
        {"index": 0, "value": 1.5, "interval": [1.0, 2.0]},
        {"index": 1, "value": -2.0, "interval": [-2.5, -1.5]},
    ]
    two = Prediction(np.array([[1.5, 3.0]], np.float32))
    assert rows(manifest(TEXT, 2, task="regression"), two, top_k=5) == [{"index": 0, "value": [1.5, 3.0]}]
    assert rows(manifest(TEXT, 2, task="regression", interval=1.0), two, top_k=5) == [
        {"index": 0, "value": [1.5, 3.0], "interval": [[0.5, 2.5], [2.0, 4.0]]}
    ]


@pytest.fixture
def serving() -> Iterator[Serving]:
    shelf, catalogue = FakeShelf(FakeTrunk(TEXT)), Catalogue()
    catalogue.put_version("acme", "colours", 4, lambda: loaded(manifest(TEXT), version=4))
    catalogue.set_alias("acme", "colours", "live", 4)
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
    yield Serving(engine, catalogue)
    engine.close()


def test_a_prediction_says_what_answered(serving: Serving) -> None:
    answer = asyncio.run(serving.predict("acme", "colours", ["red", "a blue one"], return_embedding=True))
    assert (answer.model, answer.version, answer.digest) == ("colours", 4, manifest(TEXT).digest)
    assert [len(one["embedding"]) for one in answer.rows] == [DIMS["top"]] * 2
    alone = asyncio.run(serving.predict("acme", "colours:4", ["a blue one"])).rows[0]
    assert alone["label"] == answer.rows[1]["label"]
    assert "embedding" not in alone


@pytest.mark.parametrize("count", [2, 100])  # checked in the event loop, and in a thread
def test_a_bad_input_is_named(serving: Serving, count: int) -> None:
    with pytest.raises(InvalidInput, match=f"input {count - 1}"):
        asyncio.run(serving.predict("acme", "colours", ["fine"] * (count - 1) + [3]))


@pytest.fixture
def pictures() -> Iterator[Serving]:
    image = card("image/fake", "image")
    shelf, catalogue = FakeShelf(FakeTrunk(image)), Catalogue()
    catalogue.put_version("acme", "fruit", 1, lambda: loaded(manifest(image)))
    catalogue.set_alias("acme", "fruit", "live", 1)
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
    yield Serving(engine, catalogue)
    engine.close()


def test_a_picture_is_decoded_by_the_engine_alone(pictures: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.modalities.image.decode", None)
    inputs = [png(), base64.b64encode(png()).decode()]
    first, second = asyncio.run(pictures.predict("acme", "fruit", inputs)).rows
    assert first["scores"] == second["scores"]


def test_a_bad_picture_is_named_though_the_engine_found_it(pictures: Serving) -> None:
    with pytest.raises(UnsupportedMedia, match="input 1: this is no image"):
        asyncio.run(pictures.predict("acme", "fruit", [png(), b"bad"]))
    with pytest.raises(InvalidInput, match=r"input 1: .*base64"):
        asyncio.run(pictures.predict("acme", "fruit", [png(), "!"]))


def test_an_unknown_model_is_not_found(serving: Serving) -> None:
    with pytest.raises(NotFound):
        asyncio.run(serving.predict("acme", "shapes", ["red"]))
    with pytest.raises(NotFound):
        asyncio.run(serving.predict("other", "colours", ["red"]))


def test_health_follows_the_engine(serving: Serving) -> None:
    assert serving.health() == {"ready": True, "device": "cpu", "waiting": 0}
    serving.engine.close()
    assert serving.health()["ready"] is False


def test_rows_have_the_prediction_set_likeliest_first() -> None:
    rule = PredictionSets(level=0.9, threshold=0.2)
    made_for = manifest(TEXT).model_copy(update={"prediction_sets": rule})
    found = rows(made_for, Prediction(SCORES), top_k=1)
    assert [one["set"] for one in found] == [["label-1", "label-0"], ["label-0", "label-1", "label-2"]]
    alone = rows(made_for, Prediction(np.array([[0.15, 0.1, 0.05]], np.float32)), top_k=1)
    assert alone[0]["set"] == ["label-0"]


def test_rows_say_what_is_unknown_where_it_was_told() -> None:
    told = Prediction(SCORES, unknown=np.array([False, True]))
    assert [one["unknown"] for one in rows(manifest(TEXT), told, top_k=1)] == [False, True]
    assert "unknown" not in rows(manifest(TEXT), Prediction(SCORES), top_k=1)[0]


def test_rows_carry_further_answers_by_name() -> None:
    tone = Output(name="tone", task="multilabel", labels=("polite", "rude"))
    length = Output(name="length", task="regression", labels=("value",), interval=2.0)
    rule = PredictionSets(level=0.9, threshold=0.2)
    more = {"outputs": (tone, length), "prediction_sets": rule}
    made_for = manifest(TEXT, 6).model_copy(update={**more, "labels": ("a", "b", "c")})
    told = Prediction(np.array([[0.25, 0.75, 0.0, 0.5, 0.125, 9.0]], np.float32))
    (found,) = rows(made_for, told, top_k=1)
    assert found == {
        "index": 0,
        "label": "b",
        "score": 0.75,
        "scores": [{"label": "b", "score": 0.75}],
        "set": ["b", "a"],
        "outputs": {
            "tone": {"label": ["polite"], "score": 0.5, "scores": [{"label": "polite", "score": 0.5}]},
            "length": {"value": 9.0, "interval": [7.0, 11.0]},
        },
    }
