"""`python -m training.backbones` as the service runs it, and the import of real files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import soundfile
from onnx import helper

from models.backbone import GRAPH, read_card
from models.errors import InvalidInput
from models.runtime import Backbone
from tests import onnx_models as tiny
from training.backbones import EMBEDDED
from training.backbones.baselines import pixels
from training.backbones.onnx_import import import_onnx
from training.backbones.probe import probe
from training.backbones.source import current, install

EXAMPLES = Path(__file__).parents[2] / "examples" / "backbones"


def command(*arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, the lines of stdout as JSON, and stderr."""
    given = [sys.executable, "-m", "training.backbones", *map(str, arguments)]
    done = subprocess.run(given, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_setup_writes_what_is_missing_and_no_more(tmp_path: Path) -> None:
    status, cards, progress = command("setup", tmp_path)
    assert status == 0, progress
    assert [card["id"] for card in cards] == [source.id for source in EMBEDDED]
    assert "text/minilm-l6: exporting" in progress
    (tmp_path / "image/pixels" / GRAPH).write_bytes(b"damaged")
    (tmp_path / "signal/raw/recipe").write_text("an older recipe")
    status, again, progress = command("setup", tmp_path)
    assert (status, again) == (0, cards)
    assert [line for line in progress.splitlines() if "exporting" in line] == [
        "image/pixels: exporting",
        "signal/raw: exporting",
    ]
    assert current(tmp_path / "image/pixels")
    assert not [folder for folder in tmp_path.glob("*/*") if folder.name.startswith(".")]


def test_an_import_is_one_line_and_can_be_served(tmp_path: Path) -> None:
    path = tiny.image_model(tmp_path / "m.onnx")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(tiny.IMAGE_SPEC | {"pool": "channels_first"}))
    root = tmp_path / "root"
    options = ["--name", "mine", "--modality", "image", "--preprocess", spec, "--root", root]
    status, lines, progress = command("import", path, *options, "--output", "map", "--licence", "MIT")
    assert (status, progress) == (0, "")
    (card,) = lines
    assert (card["id"], card["licence"]) == ("onnx/mine", "MIT")
    assert Backbone(root / "onnx/mine").card.digest == card["digest"]
    status, lines, _ = command("import", path, *options)
    assert status == 1
    assert lines[0]["error"]["code"] == "output"


def test_verify_and_export_answer_in_lines(tmp_path: Path) -> None:
    install(pixels(), tmp_path / "root")
    status, lines, progress = command("verify", "--roots", tmp_path / "root", tmp_path / "absent")
    assert (status, progress) == (0, "image/pixels: verifying\n")
    assert [(line["id"], line["ok"], line["taps"]) for line in lines] == [("image/pixels", True, 1)]
    asked = ["export", "image/pixels", tmp_path / "net.onnx", "--roots", tmp_path / "root"]
    assert command(*asked)[0] == 0
    status, (refusal,), _ = command(*asked)
    assert (status, refusal["error"]["code"]) == (1, "exists")
    status, (refusal,), _ = command("export", "image/none", "x", "--roots", tmp_path / "root")
    assert (status, refusal["error"]["code"]) == (1, "backbone_not_found")


def test_the_card_of_an_export_is_a_spec(tmp_path: Path) -> None:
    folder = install(pixels(), tmp_path / "root")
    command("export", "image/pixels", tmp_path / "net.onnx", "--roots", tmp_path / "root")
    options = ["--name", "mine", "--modality", "image", "--root", tmp_path / "root"]
    status, lines, _ = command(
        "import", tmp_path / "net.onnx", *options, "--preprocess", tmp_path / "net.json"
    )
    assert (status, lines[0].get("error")) == (0, None)
    assert read_card(tmp_path / "root/onnx/mine").preprocess == read_card(folder).preprocess


def test_a_folder_that_may_not_be_written_is_a_line_too(tmp_path: Path) -> None:
    install(pixels(), tmp_path / "root")
    (tmp_path / "file").touch()
    status, (refusal,), _ = command("setup", tmp_path / "file")
    assert (status, refusal["error"]["code"]) == (1, "io")


def test_an_unreadable_spec_is_an_error_of_ours(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text("{")
    options = ["--name", "mine", "--modality", "image", "--preprocess", spec, "--root", tmp_path]
    status, lines, progress = command("import", tiny.image_model(tmp_path / "m.onnx"), *options)
    assert (status, lines[0]["error"]["code"], progress) == (1, "preprocess", "")


def test_a_graph_that_asks_for_too_much_memory_dies_in_the_child(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Expand", ["x", "huge"], ["wide"]),
        helper.make_node("GlobalAveragePool", ["wide"], ["y"]),
    ]
    weights = {"huge": np.array([1, 3, 80_000, 80_000], np.int64)}
    dims = ("n", 3, 1, 1)
    path = tiny.save(
        tmp_path / "m.onnx", nodes, [tiny.value("x", dims)], [tiny.value("y", ("n", 3, 1, 1))], weights
    )
    spec = {"width": 1, "height": 1, "layout": "NCHW", "dtype": "float32"}
    with pytest.raises(InvalidInput) as caught:
        imported(path, tmp_path / "root", spec, "image")
    assert caught.value.code in ("probe", "probe_limit")
    assert list((tmp_path / "root/onnx").iterdir()) == []


def test_a_probe_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    folder = install(pixels(), tmp_path)
    with pytest.raises(InvalidInput) as caught:
        probe(folder, seconds=0.01)
    assert caught.value.code == "probe_limit"
    probe(folder)


def imported(path: Path, root: Path, spec: dict[str, Any], modality: Any, output: str | None = None) -> Path:
    card = import_onnx(
        path, name="mine", modality=modality, input=None, output=output, preprocess=spec, target_root=root
    )
    assert read_card(root / card.id) == card
    return root / card.id


@pytest.fixture(scope="module")
def weights() -> Path:
    """The folder of downloaded models; these tests need real files that the project does not hold."""
    folder = os.environ.get("DURIAN_TEST_DATA")
    if not folder:
        pytest.skip("DURIAN_TEST_DATA names no folder of test data")
    return Path(folder) / "weights"


def example(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((EXAMPLES / name).read_text())
    return spec


def test_mobilenet_v2_gives_its_golden_embedding(weights: Path, tmp_path: Path) -> None:
    folder = weights / "mobilenet_v2_1.0_224"
    spec = example("mobilenet_v2.json")
    backbone = Backbone(imported(folder / "model.onnx", tmp_path, spec, "image", "embedding"))
    assert backbone.card.embedding_dim == 1280
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        images, expected = golden["images_uint8_nhwc"], golden["embedding"]
    pictures = [_png(image) for image in images]
    got = backbone.embed(pictures, ["embedding"])["embedding"]
    np.testing.assert_allclose(got, expected, atol=1e-3)
    alone = np.concatenate([backbone.embed([p], ["embedding"])["embedding"] for p in pictures])
    np.testing.assert_allclose(got, alone, atol=1e-5)


def test_speech_embedding_is_the_two_models_run_by_hand(weights: Path, tmp_path: Path) -> None:
    folder = weights / "speech_embedding"
    spec = example("speech_embedding.json")
    backbone = Backbone(imported(folder / "embedding_model.onnx", tmp_path, spec, "audio"))
    clips = _clips()
    got = backbone.embed([_wav(clip) for clip in clips], ["embedding"])["embedding"]
    expected = np.stack([_by_hand(folder, spec, clip) for clip in clips])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, atol=1e-5)
    alone = np.concatenate([backbone.embed([_wav(c)], ["embedding"])["embedding"] for c in clips])
    np.testing.assert_allclose(got, alone, atol=1e-5)


def _clips() -> list[Any]:
    """Three tones of very different loudness: a maximum over the batch would show."""
    t = np.arange(16_000) / 16_000
    return [
        (level * np.sin(2 * np.pi * f * t)).astype(np.float32)
        for level, f in ((0.9, 300), (0.003, 900), (0.05, 2000))
    ]


def _by_hand(folder: Path, spec: dict[str, Any], clip: Any) -> Any:
    how = spec["frontend"]
    mel, embed = (
        ort.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram.onnx", "embedding_model.onnx")
    )
    wave = np.concatenate([np.zeros(int(how["lead"] * 16_000), np.float32), clip * 32768])
    frames = mel.run(None, {"input": wave[None]})[0][0, 0] / 10 + 2
    starts = range(0, len(frames) - how["window"] + 1, how["hop"])
    windows = np.stack([frames[s : s + how["window"], :, None] for s in starts])
    return np.stack([embed.run(None, {"input_1": w[None]})[0].reshape(96) for w in windows]).mean(0)


def _png(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _wav(wave: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()
