"""What every backbone that comes with Durian promises: those made at set-up and those in the repository."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from models.backbone import GRAPH, read_card
from models.cut import INPUT, cut
from models.errors import InvalidInput
from models.manifest import InputSpec
from models.modalities import modality
from models.runtime import Backbone, Features, open_session
from models.shelf import SHIPPED, Shelf
from tests.embedded import backbones_root
from training.backbones import EMBEDDED, minilm
from training.backbones.bert import SENTENCE
from training.backbones.parity import check_parity
from training.backbones.source import EmbeddedSource, recipe
from training.backbones.spec import read_spec

TOLERANCE = 1e-5
TEXTS = [
    "a",
    "Where is my parcel?",
    "I cannot log in since the update, please help me with the password form. " * 3,
    "durian",
    "ÜBER naïve café ☕ 漢字",
]


SHIPPED_IDS = [card.id for card in Shelf([SHIPPED]).list()]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backbones_root(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(params=EMBEDDED, ids=lambda source: source.id)
def source(request: pytest.FixtureRequest) -> EmbeddedSource:
    source: EmbeddedSource = request.param
    return source


@pytest.fixture(scope="module", params=[*(source.id for source in EMBEDDED), *SHIPPED_IDS])
def backbone(request: pytest.FixtureRequest, root: Path) -> Backbone:
    _, folder = Shelf([root, SHIPPED]).get(request.param)
    return Backbone(folder)


def inputs(kind: str) -> list[object]:
    """Five raw inputs that differ in length, size or loudness."""
    draw = np.random.default_rng(0)
    match kind:
        case "text":
            return list(TEXTS)
        case "image":
            return [_png(draw.integers(0, 256, (8 + 9 * i, 40 - 7 * i, 3))) for i in range(5)]
        case "audio":
            return [_wav(draw.uniform(-1, 1, 2000 + 5000 * i) * 10.0**-i) for i in range(5)]
        case _:
            return [(draw.normal(size=256) * 10.0**i).tolist() for i in range(5)]


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _wav(wave: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def contents(backbone: Backbone) -> list[bytes]:
    kind = modality(backbone.card.modality)
    spec = InputSpec(modality=backbone.card.modality)
    return [kind.canonical(value, spec, f"input {i}") for i, value in enumerate(inputs(kind.name))]


def features(backbone: Backbone, examples: Sequence[bytes], tap: str) -> Features:
    return backbone.embed(examples, [tap])[tap]


def taps(backbone: Backbone) -> list[str]:
    return [tap.name for tap in backbone.card.taps]


def test_ids_are_distinct_and_every_modality_has_one_of_its_own() -> None:
    ids = [*(source.id for source in EMBEDDED), *SHIPPED_IDS]
    assert len(set(ids)) == len(ids)
    assert {"text/minilm-l6", "image/durian-small", "audio/durian-small", "signal/durian-small"} <= set(ids)


@pytest.mark.parametrize(
    ("id", "digest"),
    [
        ("audio/durian-small", "4b7e74638b43c71f1accec01027f565aceb547ff6628c02c31eecd7a44cb750f"),
        ("image/durian-small", "8f361d3c393a2a696a57a95c81e691d5722d70f4df35bbe44132dd3b2c51c8c9"),
        ("signal/durian-small", "0c9fea29f5f7d564ce67d5910ea031cdae27a1b0f544f360506448f9a3f798f5"),
        ("text/minilm-l6", "a387999bf5d899c25b542213afda535524a6a985cf7c465d62031e5bc537f70d"),
    ],
)
def test_what_comes_with_durian_stays_what_it_is(root: Path, id: str, digest: str) -> None:
    """Models stand on a backbone by its digest, and a release that changed it would leave them without: a
    better one gets another name."""
    assert Shelf([root, SHIPPED]).get(id)[0].digest == digest


def test_card_is_complete(backbone: Backbone) -> None:
    card = backbone.card
    assert card.tap().name == card.default_tap
    assert [tap.depth for tap in card.taps] == sorted(tap.depth for tap in card.taps)
    assert card.taps[-1].depth == 1
    assert card.baseline == (card.parameters == 0)
    assert card.licence == "Apache-2.0"


def test_every_tap_has_its_dimension_and_is_finite(backbone: Backbone) -> None:
    examples = contents(backbone)
    for name, values in backbone.embed(examples, taps(backbone)).items():
        assert values.shape == (len(examples), backbone.card.tap(name).dim)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_a_tap_is_the_same_alone_and_with_others(backbone: Backbone) -> None:
    examples = contents(backbone)
    together = backbone.embed(examples, taps(backbone))
    for name in taps(backbone):
        np.testing.assert_array_equal(backbone.embed(examples, [name])[name], together[name])


def test_only_the_taps_asked_for_are_given(backbone: Backbone) -> None:
    prepared = [backbone.preprocessor.prepare(content) for content in contents(backbone)]
    assert list(backbone.run(prepared, [backbone.card.default_tap])) == [backbone.card.default_tap]


def test_an_example_does_not_depend_on_its_batch(backbone: Backbone) -> None:
    examples = contents(backbone)
    order = [3, 0, 4, 2, 1]
    for tap in taps(backbone):
        together = features(backbone, examples, tap)
        alone = np.concatenate([features(backbone, [example], tap) for example in examples])
        permuted = features(backbone, [examples[i] for i in order], tap)
        scale = max(1, np.abs(alone).max()) if tap == "raw" else 1  # 1e4 is its own rounding unit
        np.testing.assert_allclose(together, alone, atol=TOLERANCE * scale)
        np.testing.assert_allclose(permuted, alone[order], atol=TOLERANCE * scale)


def test_different_examples_have_different_features(backbone: Backbone) -> None:
    values = features(backbone, contents(backbone), backbone.card.default_tap)
    assert len(np.unique(values.round(4), axis=0)) == len(values)


def test_trunk_and_tail_compute_what_the_whole_computes(backbone: Backbone) -> None:
    graph = (backbone.folder / GRAPH).read_bytes()
    top = backbone.card.default_tap
    prepared = [backbone.preprocessor.prepare(content) for content in contents(backbone)]
    for tap in (INPUT, *taps(backbone)):
        parts = cut(graph, tap, top)
        trunk, tail = open_session(parts.trunk), open_session(parts.tail)
        for some in (prepared[:1], prepared[1:4]):
            feeds = backbone.preprocessor.collate(some)
            taken = {value.name: feeds[value.name] for value in trunk.get_inputs()}
            edges = dict(zip(parts.edges, trunk.run(parts.edges, taken), strict=True))
            assert all(len(edge) == len(some) for edge in edges.values())
            expected = backbone.run(some, [top])[top]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(tail.run([top], edges)[0], expected, atol=TOLERANCE * scale)


def test_exporting_again_gives_the_same_digest(root: Path, source: EmbeddedSource) -> None:
    exported = source.export()
    assert exported.card == read_card(root / source.id)
    assert exported.card.digest == read_card(root / source.id).digest


def test_garbage_is_refused_before_any_run(backbone: Backbone) -> None:
    kind = modality(backbone.card.modality)
    with pytest.raises(InvalidInput):
        kind.canonical(b"\xff\xfe\x00garbage", InputSpec(modality=backbone.card.modality), "row 1")


def test_a_card_s_preprocessing_is_a_valid_spec(backbone: Backbone) -> None:
    card = backbone.card
    fields = card.preprocess.model_dump(mode="json")
    assert read_spec(fields, card.modality).preprocess == card.preprocess
    with pytest.raises(InvalidInput):
        read_spec(fields | {"garbage": 1}, card.modality)


def test_the_shelf_holds_them_all(root: Path) -> None:
    shelf = Shelf([root])
    assert {source.id for source in EMBEDDED} <= {card.id for card in shelf.list()}
    for source in EMBEDDED:
        assert (root / source.id / "recipe").read_text() == recipe()


def test_minilm_matches_the_recorded_original(root: Path) -> None:
    texts, expected = minilm.read_reference()
    assert len(texts) == 64
    got = features(Backbone(root / minilm.ID), [text.encode() for text in texts], SENTENCE)
    check_parity(minilm.ID, got, expected, minilm.TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_minilm_reference_spans_1_to_128_tokens(root: Path) -> None:
    backbone = Backbone(root / minilm.ID)
    texts, _ = minilm.read_reference()
    lengths = [len(backbone.preprocessor.prepare(text.encode())) - 2 for text in texts]
    assert (min(lengths), max(lengths)) == (1, 128)


@pytest.mark.slow
def test_minilm_matches_the_original_run_by_torch(root: Path) -> None:
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: the recorded reference is checked instead")
    from training.backbones.minilm_reference import original, reference_texts

    texts, recorded = minilm.read_reference()
    assert texts == reference_texts()
    some = [*texts[::8], *TEXTS]
    expected = original(some)
    got = features(Backbone(root / minilm.ID), [text.encode() for text in some], SENTENCE)
    check_parity(minilm.ID, got, expected, minilm.TOLERANCE)
    np.testing.assert_allclose(expected[: len(texts[::8])], recorded[::8], atol=1e-5)
