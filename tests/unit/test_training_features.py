"""Features for training: cached ones are read, missing ones computed with the backbone itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from models.backbone import GRAPH, BackboneCard, SignalPreprocess, Tap, read_card, write_backbone
from models.base import sha256
from models.dataset import Pack
from models.errors import JobFailed
from models.features import FeatureCache
from models.fitspec import BackboneChoice
from models.manifest import InputSpec
from training.features import FeatureSource

POINTS = 4
VALUES = np.random.default_rng(0).normal(size=(70, POINTS)).astype("<f4")


def doubling_graph() -> bytes:
    """Two taps of a signal: itself, and twice itself."""
    shape = ["N", POINTS]
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["signal"], ["raw"]),
            helper.make_node("Add", ["raw", "raw"], ["twice"]),
        ],
        "double",
        [helper.make_tensor_value_info("signal", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("raw", "twice")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture
def choice(tmp_path: Path) -> BackboneChoice:
    graph = doubling_graph()
    card = BackboneCard(
        id="signal/double",
        modality="signal",
        preprocess=SignalPreprocess(points=POINTS),
        input="signal",
        taps=(Tap(name="raw", dim=POINTS, depth=0), Tap(name="twice", dim=POINTS, depth=1)),
        default_tap="twice",
        parameters=0,
        licence="Apache-2.0",
        source="a test",
        files={GRAPH: sha256(graph)},
    )
    write_backbone(tmp_path / "backbone", card, {GRAPH: graph})
    folder = str(tmp_path / "backbone")
    return BackboneChoice(id=card.id, digest=card.digest, folder=folder, taps=("raw", "twice"))


@pytest.fixture
def source(tmp_path: Path) -> FeatureSource:
    return FeatureSource(FeatureCache(tmp_path / "features.db"), threads=1)


@pytest.fixture
def pack() -> Pack:
    contents = tuple(row.tobytes() for row in VALUES)
    return Pack("regression", InputSpec(modality="signal"), contents, (0.0,) * len(contents))


def ignore(done: int, total: int) -> None: ...


def test_missing_features_are_computed_once(
    source: FeatureSource, choice: BackboneChoice, pack: Pack
) -> None:
    said: list[tuple[int, int]] = []
    found = source.features(choice, pack, lambda done, total: said.append((done, total)))
    np.testing.assert_allclose(found["raw"], VALUES)
    np.testing.assert_allclose(found["twice"], 2 * VALUES)
    assert said == [(0, 70), (64, 70)]
    again = source.features(choice, pack, lambda done, total: said.append((done, total)))
    np.testing.assert_array_equal(again["twice"], found["twice"])
    assert len(said) == 2


def test_only_what_is_missing_is_computed(source: FeatureSource, choice: BackboneChoice, pack: Pack) -> None:
    marked = np.full((69, POINTS), 7, np.float32)
    for tap in choice.taps:
        source.cache.put(choice.digest, tap, pack.digests[1:], marked)
    found = source.features(choice, pack, ignore)["twice"]
    np.testing.assert_allclose(found[0], 2 * VALUES[0])
    np.testing.assert_array_equal(found[1:], marked)


def test_changed_backbone_is_refused(source: FeatureSource, choice: BackboneChoice, pack: Pack) -> None:
    with pytest.raises(JobFailed) as failure:
        source.features(choice.model_copy(update={"digest": "0" * 64}), pack, ignore)
    assert failure.value.code == "backbone_changed"


def test_joined_taps_are_their_parts_in_a_row(tmp_path: Path, choice: BackboneChoice) -> None:
    joined = choice.model_copy(update={"taps": ("twice+raw",)})
    pack = Pack("regression", InputSpec(modality="signal"), tuple(v.tobytes() for v in VALUES), (None,) * 70)
    source = FeatureSource(FeatureCache(tmp_path / "f.sqlite"), 1)
    found = source.features(joined, pack, lambda done, total: None)["twice+raw"]
    np.testing.assert_allclose(found, np.concatenate([2 * VALUES, VALUES], axis=1))
    assert source.cache.missing(choice.digest, "raw", pack.digests) == []  # the parts are what is kept
    card = read_card(Path(choice.folder))
    assert card.tap("twice+raw").dim == 2 * POINTS
    with pytest.raises(KeyError):
        card.tap("twice+nothing")
