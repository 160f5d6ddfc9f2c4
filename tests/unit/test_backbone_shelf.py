"""The shelf: several roots, seen anew when a folder changes, broken folders left out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from models.backbone import GRAPH, BackboneCard, SignalPreprocess, Tap, write_backbone
from models.base import sha256
from models.errors import NotFound
from models.shelf import RESCAN_SECONDS, Shelf


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("models.shelf.time", clock)
    return clock


def put(root: Path, id: str, graph: bytes = b"graph", name: str | None = None) -> BackboneCard:
    card = BackboneCard(
        id=name or id,
        modality="signal",
        preprocess=SignalPreprocess(points=4),
        input="signal",
        taps=(Tap(name="raw", dim=4, depth=1),),
        default_tap="raw",
        parameters=0,
        licence="Apache-2.0",
        source="a test",
        files={GRAPH: sha256(graph)},
    )
    write_backbone(root / id, card, {GRAPH: graph})
    return card


def test_finds_backbones_in_all_roots_and_the_first_root_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    put(first, "signal/a", b"mine")
    put(second, "signal/a", b"other")
    put(second, "onnx/b")
    shelf = Shelf([first, second, tmp_path / "absent"])
    assert [card.id for card in shelf.list()] == ["onnx/b", "signal/a"]
    assert shelf.get("signal/a")[1] == first / "signal/a"


def test_ids_of_three_parts_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "signal/a")
    card = put(tmp_path, "hub/someone/model")
    put(tmp_path, "hub/someone/.tmp-half", name="hub/someone/half")
    put(tmp_path, "hub/.tmp-old/model", name="hub/someone/old")
    put(tmp_path, "hub/someone/other", name="someone/other")
    shelf = Shelf([tmp_path])
    assert [card.id for card in shelf.list()] == ["hub/someone/model", "signal/a"]
    assert shelf.get("hub/someone/model") == (card, tmp_path / "hub/someone/model")
    assert caplog.messages == ["backbone hub/someone/other is left out: its card names another backbone."]


def test_both_versions_of_an_id_are_found_by_digest(tmp_path: Path) -> None:
    put(tmp_path / "first", "signal/a", b"mine")
    other = put(tmp_path / "second", "signal/a", b"other")
    card, folder = Shelf([tmp_path / "first", tmp_path / "second"]).by_digest(other.digest)
    assert (card, folder) == (other, tmp_path / "second" / "signal/a")


def test_unknown_id_names_those_that_exist(tmp_path: Path) -> None:
    put(tmp_path, "signal/a")
    with pytest.raises(NotFound, match="signal/a"):
        Shelf([tmp_path]).get("signal/b")
    with pytest.raises(NotFound):
        Shelf([tmp_path]).by_digest("0" * 64)


def test_an_empty_shelf_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="durian backbones setup"):
        Shelf([tmp_path]).get("signal/a")


def test_a_new_backbone_is_listed_within_a_second(tmp_path: Path, clock: Clock) -> None:
    shelf = Shelf([tmp_path])
    assert shelf.list() == []
    put(tmp_path, "onnx/new")
    assert shelf.list() == []  # not looked yet
    clock.now += RESCAN_SECONDS
    assert [card.id for card in shelf.list()] == ["onnx/new"]
    assert RESCAN_SECONDS < 1


def test_a_new_backbone_can_be_had_at_once(tmp_path: Path, clock: Clock) -> None:
    shelf = Shelf([tmp_path])
    assert shelf.list() == []
    card = put(tmp_path, "onnx/new")
    assert shelf.get("onnx/new")[0] == card
    assert shelf.by_digest(card.digest)[0] == card


def test_a_replaced_or_removed_backbone_is_noticed(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path, "onnx/a", b"old")
    shelf = Shelf([tmp_path])
    assert shelf.list()
    shutil.rmtree(tmp_path / "onnx/a")
    new = put(tmp_path, "onnx/a", b"new")
    clock.now += RESCAN_SECONDS
    assert shelf.get("onnx/a")[0].digest == new.digest
    shutil.rmtree(tmp_path / "onnx/a")
    clock.now += RESCAN_SECONDS
    assert shelf.list() == []


def test_unchanged_folders_are_not_read_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "onnx/a")
    shelf = Shelf([tmp_path])
    before = shelf.get("onnx/a")
    monkeypatch.setattr("models.shelf.read_card", lambda folder: pytest.fail("the card was read again"))
    clock.now += RESCAN_SECONDS
    assert shelf.get("onnx/a") == before


@pytest.mark.parametrize("damage", ["card", "file", "name"])
def test_a_broken_backbone_is_left_out_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "onnx/good")
    put(tmp_path, "onnx/bad", name="onnx/else" if damage == "name" else None)
    if damage == "card":
        (tmp_path / "onnx/bad/card.json").write_text("{")
    if damage == "file":
        (tmp_path / "onnx/bad" / GRAPH).unlink()
    with caplog.at_level(logging.WARNING):
        assert [card.id for card in Shelf([tmp_path]).list()] == ["onnx/good"]
    assert "onnx/bad" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_folders_without_a_card_and_half_written_ones_are_no_backbones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "onnx/.tmp-half", name="onnx/half")
    (tmp_path / "text/minilm-l6").mkdir(parents=True)
    (tmp_path / "text/minilm-l6/reference.npz").write_bytes(b"")
    assert Shelf([tmp_path]).list() == []
    assert not caplog.records
