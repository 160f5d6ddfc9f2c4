"""Exports: a copy that computes the same, whole or ended at a tap, and never over something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import orjson
import pytest

from models.backbone import BackboneCard, read_card
from models.base import sha256
from models.errors import Conflict, CorruptArtefact, InvalidInput
from models.runtime import Backbone, open_session
from models.shelf import SHIPPED, Entry
from tests.embedded import backbones_root
from training.backbones.export import export
from training.backbones.onnx_import import import_onnx
from training.backbones.probe import random_examples

ID = "signal/durian-small"


@pytest.fixture(scope="module")
def entry() -> Entry:
    return read_card(SHIPPED / ID), SHIPPED / ID


def test_a_folder_is_the_backbone_itself(entry: Entry, tmp_path: Path) -> None:
    card = export(entry, tmp_path / "copy")
    assert card == entry[0] == Backbone(tmp_path / "copy").card
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == ["card.json", "model.onnx"]


def test_ended_at_a_tap_it_computes_that_tap_and_no_more(entry: Entry, tmp_path: Path) -> None:
    whole = Backbone(entry[1])
    tap = whole.card.taps[4].name
    card = export(entry, tmp_path / "part", tap)
    part = Backbone(tmp_path / "part")
    examples = random_examples(whole)
    np.testing.assert_array_equal(part.run(examples, [tap])[tap], whole.run(examples, [tap])[tap])
    assert (card.id, card.default_tap, [t.name for t in card.taps]) == (f"{ID}.{tap}", tap, [tap])
    assert 0 < card.parameters < entry[0].parameters
    assert card.source.endswith(f"ended at its tap {tap}")
    assert card.digest != entry[0].digest


def test_a_file_stands_alone_with_its_card_beside_it(entry: Entry, tmp_path: Path) -> None:
    card = export(entry, tmp_path / "net.onnx", "embedding")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.json", "net.onnx"]
    assert BackboneCard.model_validate_json((tmp_path / "net.json").read_bytes()) == card
    graph = (tmp_path / "net.onnx").read_bytes()
    assert card.files == {"net.onnx": sha256(graph)}
    assert not any(
        onnx.external_data_helper.uses_external_data(t)
        for t in onnx.load(tmp_path / "net.onnx").graph.initializer
    )
    session = open_session(graph)
    assert [value.name for value in session.get_outputs()] == ["embedding"]
    batch = np.stack(random_examples(Backbone(entry[1])))
    assert session.run(None, {card.input: batch})[0].shape == (4, card.embedding_dim)


def test_an_exported_file_can_be_imported_again(entry: Entry, tmp_path: Path) -> None:
    card = export(entry, tmp_path / "net.onnx", "embedding")
    back = import_onnx(
        tmp_path / "net.onnx",
        name="back",
        modality="signal",
        input=None,
        output=None,
        preprocess=orjson.loads((tmp_path / "net.json").read_bytes())["preprocess"],
        target_root=tmp_path / "root",
    )
    examples = random_examples(Backbone(entry[1]))
    again = Backbone(tmp_path / "root" / back.id).run(examples, [back.default_tap])[back.default_tap]
    expected = Backbone(entry[1]).run(examples, [card.default_tap])[card.default_tap]
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_a_text_backbone_takes_its_tokenizer_along(tmp_path: Path) -> None:
    folder = backbones_root(tmp_path / "built") / "text/minilm-l6"
    card = export((read_card(folder), folder), tmp_path / "net.onnx", "layer_0")
    assert card.model_dump()["preprocess"]["tokenizer"] == "net.tokenizer.json"
    assert {name: sha256((tmp_path / name).read_bytes()) for name in card.files} == card.files


@pytest.mark.parametrize("name", ["net.onnx", "net.json"])
def test_nothing_is_overwritten(entry: Entry, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(Conflict, match=f"{name} is there already") as caught:
        export(entry, tmp_path / "net.onnx")
    assert caught.value.code == "exists"
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(Conflict):
        export(entry, tmp_path / "folder")


def test_what_cannot_be_exported_leaves_nothing(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Its taps: ") as caught:
        export(entry, tmp_path / "net", "attic")
    assert caught.value.code == "tap"
    with pytest.raises(InvalidInput) as caught:
        export(entry, tmp_path / "none" / "net")
    assert caught.value.code == "target"
    export(entry, tmp_path / "damaged")
    (tmp_path / "damaged/model.onnx").write_bytes(b"no")
    with pytest.raises(CorruptArtefact):
        export((entry[0], tmp_path / "damaged"), tmp_path / "net")
    assert [file.name for file in tmp_path.iterdir()] == ["damaged"]
