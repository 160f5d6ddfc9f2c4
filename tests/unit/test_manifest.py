"""What a model is: its answers and where they lie; fields that came later leave old digests alone."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from models.manifest import Manifest, Output, PredictionSets, Rejection
from tests.trunks import card, manifest

TONE = Output(name="tone", task="multilabel", labels=("polite", "rude"))
LENGTH = Output(name="length", task="regression", labels=("value",), interval=2.0)


def several() -> Manifest:
    own = {"labels": ("a", "b", "c"), "outputs": (TONE, LENGTH)}
    doubts = {
        "prediction_sets": PredictionSets(level=0.9, threshold=0.2),
        "rejection": Rejection(threshold=1, false_alarms=0.05),
    }
    return manifest(card(), 6).model_copy(update={**own, **doubts})


def test_absent_outputs_leave_no_trace() -> None:
    plain = manifest(card())
    assert "outputs" not in orjson.loads(plain.canonical())
    assert plain.columns == (slice(0, 3),)
    assert plain.alone() is plain


def test_outputs_survive_the_canonical_form() -> None:
    made = several()
    assert Manifest.model_validate_json(made.canonical()) == made
    stored = orjson.loads(made.canonical())["outputs"]
    assert stored[0] == {"name": "tone", "task": "multilabel", "labels": ["polite", "rude"]}


def test_answers_lie_in_the_order_of_the_outputs() -> None:
    made = several()
    assert made.columns == (slice(0, 3), slice(3, 5), slice(5, 6))
    own, tone, length = made.alone(), made.alone(TONE), made.alone(LENGTH)
    assert [one.head.out_dim for one in (own, tone, length)] == [3, 2, 1]
    assert (own.task, own.prediction_sets) == (made.task, made.prediction_sets)
    assert (tone.task, tone.labels, tone.prediction_sets) == ("multilabel", ("polite", "rude"), None)
    assert (length.task, length.interval, length.rejection) == ("regression", 2.0, None)
    assert own.outputs == tone.outputs == ()


@pytest.mark.parametrize("name", ["", "a.b", "Tone", "a b"])
def test_a_name_can_stand_before_a_tensors(name: str) -> None:
    with pytest.raises(ValidationError):
        Output(name=name, task="regression", labels=("value",))
