"""What holds for every registered modality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from models.backbone import (
    AudioPreprocess,
    BackboneCard,
    ImagePreprocess,
    Preprocess,
    SignalPreprocess,
    TextPreprocess,
)
from models.errors import CorruptArtefact, DurianError, InvalidRequest
from models.manifest import InputSpec
from models.modalities import MODALITIES, modality, preprocessor, register
from models.modalities.base import Preprocessor
from tests.media import card, clip, png, tokenizer_json, tone


@dataclass(frozen=True)
class Case:
    """Two inputs of a modality, how a backbone takes them, and the fed shapes of a batch of both."""

    inputs: tuple[object, object]
    preprocess: Preprocess
    shapes: dict[str, tuple[int, ...]]


CASES = {
    "text": Case(("where is my parcel", "is"), TextPreprocess(), {"input": (2, 6), "attention_mask": (2, 6)}),
    "image": Case((png(), png(3, 9, seed=1)), ImagePreprocess(width=5, height=7), {"input": (2, 7, 5, 3)}),
    "audio": Case(
        (clip(tone()), clip(tone(0.3))),
        AudioPreprocess(sample_rate=4000, seconds=0.2),
        {"input": (2, 800)},
    ),
    "signal": Case(([1, 2, 3, 4], [4, 3, 2, 1]), SignalPreprocess(points=9), {"input": (2, 9)}),
}
GARBAGE = [
    None,
    True,
    3,
    2.5,
    float("nan"),
    10**400,
    "",
    "\0",
    "\ud800",
    "=cmd",
    "data:image/png;base64,",
    "data:;base64,AAAA",
    "http://localhost/",
    b"",
    b"\0" * 64,
    b"\xff\xd8\xff" + bytes(99),
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"OggS" + bytes(30),
    b"fLaC" + bytes(80),
    b"GIF89a" + bytes(40),
    b"BM" + bytes(60),
    b"II*\0\x08\0\0\0" + b"\xff" * 40,
    [],
    [None],
    [[1]],
    ["a", 1],
    {},
    {"grid": 1, "values": 2},
    {"grid": [1, 2], "values": ["a", "b"]},
    object(),
    np.array([[1.0]]),
    np.array(["a", "b"]),
]

all_modalities = pytest.mark.parametrize("name", MODALITIES)


def processor(name: str) -> Preprocessor:
    backbone: BackboneCard = card(modality(name).name, CASES[name].preprocess)
    return preprocessor(backbone, {"tokenizer.json": tokenizer_json()})


def contents(name: str) -> list[bytes]:
    spec = InputSpec(modality=modality(name).name)
    return [modality(name).canonical(value, spec, "row 1") for value in CASES[name].inputs]


def test_every_modality_has_a_case():
    assert set(CASES) == set(MODALITIES)


@all_modalities
def test_it_is_known_by_its_name(name):
    assert modality(name).name == name


@all_modalities
def test_a_name_is_taken_once(name):
    with pytest.raises(ValueError, match="twice"):
        register(MODALITIES[name])


def test_unknown_names_are_refused():
    with pytest.raises(InvalidRequest, match="text, image, audio, signal"):
        modality("video")


@all_modalities
def test_equal_inputs_give_equal_bytes(name):
    assert contents(name) == contents(name)
    assert len(set(contents(name))) == 2


def refusal(name: str, value: object) -> DurianError | None:
    try:
        modality(name).canonical(value, InputSpec(modality=modality(name).name), "row 9")
    except DurianError as error:
        return error
    return None


@all_modalities
@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_refused_with_its_place_unless_it_can_be_prepared(name, value):
    error = refusal(name, value)
    if error is None:
        content = modality(name).canonical(value, InputSpec(modality=modality(name).name), "row 9")
        assert processor(name).prepare(content).size
    else:
        assert error.message.startswith("row 9: ")
        assert error.param == "row 9"
        assert error.code != "error"


@all_modalities
def test_mutants_raise_only_our_errors(name):
    """Bytes changed or cut at random: decoders must not leak their own exceptions."""
    rng = np.random.default_rng(0)
    for content in contents(name):
        for _ in range(150):
            mutant = np.frombuffer(content, np.uint8).copy()
            mutant[rng.integers(len(mutant), size=3)] = rng.integers(256, size=3)
            error = refusal(name, mutant[: rng.integers(1, len(mutant) + 1)].tobytes())
            assert error is None or error.param == "row 9"


@all_modalities
def test_prepared_examples_collate(name):
    ours = processor(name)
    batch = [ours.prepare(content) for content in contents(name)]
    feeds = ours.collate(batch)
    assert {key: feed.shape for key, feed in feeds.items()} == CASES[name].shapes
    assert all(ours.size(prepared) >= 1 for prepared in batch)


@all_modalities
def test_prepare_is_deterministic_and_batch_free(name):
    ours = processor(name)
    alone = [ours.collate([ours.prepare(content)]) for content in contents(name)]
    again = [processor(name).collate([processor(name).prepare(content)]) for content in contents(name)]
    for one, other in zip(alone, again, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)


@all_modalities
def test_a_card_of_another_modality_is_corrupt(name):
    other = next(case for kind, case in CASES.items() if kind != name)
    wrong = card(modality(name).name, other.preprocess)
    with pytest.raises(CorruptArtefact):
        modality(name).preprocessor(wrong, {})
