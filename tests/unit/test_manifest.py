"""What a model is: its answers and where they lie; fields that came later leave old digests alone."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from models.base import sha256
from models.errors import CorruptArtefact
from models.manifest import FORMAT, Manifest, Output, PredictionSets, Rejection, read_manifest
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


FIRST = orjson.dumps(
    {
        "format": 1,
        "task": "classification",
        "labels": ["a", "b"],
        "input": {"modality": "text", "grid": None},
        "backbone": {"id": "text/minilm-l6", "digest": "0" * 64},
        "tap": "sentence",
        "head": {"kind": "affine", "activation": "softmax", "in_dim": 384, "out_dim": 2},
        "method": "logistic",
        "hyperparameters": {"c": 1.0},
        "interval": None,
        "seed": 0,
        "dataset_digest": "1" * 64,
        "versions": {"python": "3.11.7", "onnxruntime-gpu": "1.31.1"},
        "files": {"head.onnx": "2" * 64, "golden.npz": "3" * 64},
    },
    option=orjson.OPT_SORT_KEYS,
)
"""As the first release of the format wrote it: without sets, rejection and outputs."""


def test_a_manifest_without_what_came_later_is_read_and_keeps_its_digest() -> None:
    assert read_manifest(FIRST).digest == sha256(FIRST)


def test_a_manifest_of_a_later_format_is_named_as_that() -> None:
    later = orjson.dumps({**orjson.loads(FIRST), "format": FORMAT + 1, "unheard": "of"})
    with pytest.raises(CorruptArtefact, match=f"format {FORMAT + 1}"):
        read_manifest(later)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"format": null}', b'{"format": Infinity}', FIRST[:-2], b"\xff"]
)
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(CorruptArtefact, match="no readable"):
        read_manifest(data)


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
