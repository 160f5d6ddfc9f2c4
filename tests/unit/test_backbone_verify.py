"""Verdicts on installed backbones: sound ones, and each way in which one can be broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from onnx import helper

from models.backbone import CARD, GRAPH, BackboneCard, SignalPreprocess, Tap, read_card, write_backbone
from models.base import sha256
from models.errors import NotFound
from models.shelf import SHIPPED
from tests import onnx_models as tiny
from training.backbones.baselines import raw
from training.backbones.source import install
from training.backbones.verify import TOLERANCE, Verdict, verdict, verify


@pytest.fixture
def root(tmp_path: Path) -> Path:
    install(raw(), tmp_path)
    return tmp_path


def put(root: Path, id: str, op: str, dim: int = 2, **options: float) -> Path:
    """A backbone of one operator over signals of two points."""
    node = helper.make_node(op, ["x"], ["y"], **options)
    (root / "graphs").mkdir(exist_ok=True)
    file = tiny.save(
        root / "graphs" / "g.onnx", [node], [tiny.value("x", ("n", 2))], [tiny.value("y", ("n", 2))]
    )
    card = BackboneCard(
        id=id,
        modality="signal",
        preprocess=SignalPreprocess(points=2),
        input="x",
        taps=(Tap(name="y", dim=dim, depth=1.0),),
        default_tap="y",
        parameters=0,
        licence="MIT",
        source="here",
        files={GRAPH: sha256(file.read_bytes())},
    )
    write_backbone(root / id, card, {GRAPH: file.read_bytes()})
    return root / id


def judged(root: Path, *ids: str) -> dict[str, Verdict]:
    return {found.id: found for found in verify([root], ids, emit=lambda line: None)}


def test_a_sound_one_says_what_was_tried(root: Path) -> None:
    (found,) = judged(root).values()
    assert (found.id, found.ok, found.taps, found.code) == ("signal/raw", True, 3, None)
    assert found.digest == read_card(root / "signal/raw").digest
    assert found.batch_difference is not None
    assert found.batch_difference <= TOLERANCE


@pytest.mark.parametrize("id", ["image/durian-small", "audio/durian-small", "signal/durian-small"])
def test_the_shipped_ones_are_sound(id: str) -> None:
    assert verdict(id, SHIPPED / id).ok


def test_each_fault_has_its_code(root: Path) -> None:
    (root / "signal/raw" / GRAPH).write_bytes(b"damaged")
    put(root, "onnx/wide", "Identity", dim=3)
    put(root, "onnx/infinite", "Log")
    put(root, "onnx/mixed", "Softmax", axis=0)
    (put(root, "onnx/moved", "Identity")).rename(root / "onnx/elsewhere")
    (put(root, "onnx/lacking", "Identity") / GRAPH).unlink()
    (put(root, "onnx/cardless", "Identity") / CARD).write_text("{")
    folder = put(root, "onnx/nonsense", "Identity")
    (folder / GRAPH).write_bytes(b"no graph")
    card = orjson.loads((folder / CARD).read_bytes()) | {"files": {GRAPH: sha256(b"no graph")}}
    (folder / CARD).write_bytes(orjson.dumps(card))
    found = judged(root)
    assert not any(one.ok for one in found.values())
    assert {id: one.code for id, one in found.items()} == {
        "onnx/cardless": "corrupt_artefact",
        "onnx/elsewhere": "misplaced",
        "onnx/infinite": "non_finite",
        "onnx/lacking": "corrupt_artefact",
        "onnx/mixed": "batch_variance",
        "onnx/nonsense": "unloadable",
        "onnx/wide": "output_shape",
        "signal/raw": "corrupt_artefact",
    }
    assert all(one.message and str(root) not in one.message for one in found.values())


def test_of_two_with_one_id_the_first_root_counts(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    install(raw(), other)
    (other / "signal/raw" / GRAPH).write_bytes(b"damaged")
    assert [one.ok for one in verify([root, other], [], emit=lambda line: None)] == [True]


def test_only_those_named_are_tried_and_an_unknown_one_stops_all(root: Path) -> None:
    put(root, "onnx/mixed", "Softmax", axis=0)
    assert list(judged(root, "signal/raw", "signal/raw")) == ["signal/raw"]
    said: list[str] = []
    with pytest.raises(NotFound, match=r"no backbone onnx/none\. Installed: onnx/mixed, signal/raw"):
        list(verify([root], ["signal/raw", "onnx/none"], said.append))
    assert said == []


def test_the_tolerance_is_relative_to_the_scale(root: Path) -> None:
    """Rounding at a large scale is no variance."""
    folder = put(root, "onnx/exp", "Exp")
    assert verdict("onnx/exp", folder).ok
    assert np.exp(4.0) * TOLERANCE > np.finfo(np.float32).eps
