"""Models of several answers in the engine: each is judged by its own measure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.golden import Golden
from app.engine.model import LoadedModel, Prediction
from models.errors import CorruptArtefact
from models.manifest import Manifest, Output
from models.novelty import Novelty
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest

FEATURES = np.ones((1, 4), np.float32)
OUTPUTS = np.array([[0.25, 0.75, 1000.0]], np.float32)


def several() -> Manifest:
    """Two classes, and a number beside them."""
    number = Output(name="number", task="regression", labels=("value",))
    return manifest(card(), 3).model_copy(update={"labels": ("a", "b"), "outputs": (number,)})


@pytest.mark.parametrize(
    ("changed", "right"),
    [([0, 0, 0.5], True), ([5e-4, 0, 0], True), ([0, 0, 5], False), ([0.01, 0, 0], False)],
)
def test_a_number_may_miss_by_its_size_and_a_score_may_not(changed: list[float], right: bool) -> None:
    got = Prediction(OUTPUTS + np.array([changed], np.float32), FEATURES)
    golden = Golden((b"x",), FEATURES, OUTPUTS)
    if right:
        golden.check(got, several())
        return
    with pytest.raises(CorruptArtefact) as caught:
        golden.check(got, several())
    assert caught.value.code == "golden_mismatch"


class Spy:
    """A novelty that notes what it was shown."""

    nbytes = 0

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def unknown(self, X: np.ndarray[Any, Any], outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.shown.append(outputs.shape)
        return np.zeros(len(X), bool)


def test_the_unknown_is_told_by_the_models_own_scores() -> None:
    trunk, spy = FakeTrunk(card()), Spy()
    shelf = FakeShelf(trunk)
    model: LoadedModel = replace(loaded(several()), novelty=cast(Novelty, spy))
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
    try:
        found = engine.predict_sync(model, [b"red", b"blue"], unknown=True)
    finally:
        engine.close()
    assert found.outputs.shape == (2, 3)
    assert spy.shown == [(2, 2)]
