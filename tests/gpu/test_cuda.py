"""On a real GPU: the device is used, gives the CPU's answers, and holds its canary. Skipped without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.providers import CUDA, providers
from models.backbone import BackboneCard
from models.runtime import Backbone
from tests.trunks import POINTS, loaded, manifest, signal_backbone

pytestmark = pytest.mark.gpu
SIGNALS = [np.random.default_rng(i).normal(size=POINTS).astype("<f4").tobytes() for i in range(300)]


class OneShelf:
    def __init__(self, made: BackboneCard, folder: Path) -> None:
        self.found = made, folder

    def get(self, _: str) -> tuple[BackboneCard, Path]:
        return self.found

    by_digest = get


@pytest.fixture(scope="module")
def cuda() -> tuple[str, ...]:
    found = providers()
    if CUDA not in found:
        pytest.skip("there is no CUDA device, or ONNX Runtime has no CUDA provider here")
    return found


@pytest.fixture
def engine(cuda: tuple[str, ...], tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(OneShelf(signal_backbone(tmp_path), tmp_path), lanes=2, providers=cuda)
    yield engine
    engine.close()


def test_features_are_those_of_the_cpu(engine: Engine, tmp_path: Path) -> None:
    expected = Backbone(tmp_path).embed(SIGNALS, ["top"])["top"]
    np.testing.assert_allclose(engine.embed_sync("signal/tiny", SIGNALS), expected, rtol=1e-2, atol=1e-3)
    assert engine.device == "cuda"


def test_heads_are_applied_to_features_of_the_device(engine: Engine, tmp_path: Path) -> None:
    made = signal_backbone(tmp_path)
    scores = engine.predict_sync(loaded(manifest(made, 4)), SIGNALS).outputs
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert not engine.closing
