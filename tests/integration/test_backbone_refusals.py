"""`durian backbones add` and `import` as a user meets them: what is refused, with which code, and that a
refused or interrupted backbone never appears."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner, Result

from app.cli import app
from app.commands import training as training_side
from models.shelf import Shelf
from models.store import TEMPORARY
from tests import onnx_models as tiny
from tests.hub_server import REVISION, serving
from training.backbones.__main__ import main
from training.backbones.source import staged, tidy

Durian = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DURIAN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "data"


@pytest.fixture
def durian(data: Path, monkeypatch: pytest.MonkeyPatch) -> Durian:
    """The command; its training side runs in this process, where the libraries are loaded already."""
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        if command[:3] != [sys.executable, "-m", "training.backbones"] or command[3] == "probe":
            return real(command, **options)
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())) as out:
            status = main(command[3:])
            out.seek(0)
            return subprocess.CompletedProcess(command, status, out.read())

    monkeypatch.setattr(training_side.subprocess, "run", run)
    return lambda *arguments: CliRunner().invoke(app, ["backbones", *map(str, arguments)])


def refused(result: Result, code: str, data: Path) -> str:
    """The one line that tells it; nothing may have been added or left."""
    assert (result.exit_code, result.stdout) == (1, "")
    line = result.stderr.splitlines()[-1]
    assert line.startswith("durian: ")
    assert line.endswith(f" ({code})")
    assert "Traceback" not in result.stderr
    assert str(data.parent) not in line
    assert nothing_in(data)
    return line


def nothing_in(data: Path) -> bool:
    root = data / "backbones"
    return Shelf([root]).list() == [] and list(root.glob("*/*")) == []


# --- ONNX files ---------------------------------------------------------------------------------


def external(path: Path) -> None:
    model = onnx.load(tiny.image_model(path))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def loop(path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [tiny.value("i", (), TensorProto.INT64), tiny.value("c", (), TensorProto.BOOL)],
        [tiny.value("d", (), TensorProto.BOOL)],
    )
    tiny.one_node(path, "Loop", body=body)


@pytest.mark.parametrize(
    ("make", "output", "code", "words"),
    [
        (external, "map", "external_data", "save it as one file"),
        (loop, "y", "operator", "Loop"),
        (lambda path: tiny.one_node(path, "Gelu", domain="com.mine"), "y", "operator", "com.mine.Gelu"),
        (lambda path: tiny.image_model(path, batch=1), "map", "fixed_batch", "fixed batch of 1"),
        (tiny.image_model, None, "output", "2 outputs, so name the one to use: map, scores"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01."), None, "not_onnx", "not an ONNX model"),  # a pickle
    ],
    ids=["external data", "loop", "custom operator", "fixed batch", "two outputs", "pickle"],
)
def test_an_onnx_file_that_cannot_be_served(
    durian: Durian, data: Path, tmp_path: Path, make: Any, output: str | None, code: str, words: str
) -> None:
    make(tmp_path / "m.onnx")
    (tmp_path / "spec.json").write_bytes(orjson.dumps(tiny.IMAGE_SPEC | {"pool": "channels_first"}))
    options = ["--name", "mine", "--modality", "image", "--preprocess", tmp_path / "spec.json"]
    options += ["--output", output] if output else []
    assert words in refused(durian("import", tmp_path / "m.onnx", *options), code, data)


# --- torchvision --------------------------------------------------------------------------------

SMALL = "squeezenet1_0"


@pytest.fixture(scope="module")
def weights() -> Any:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.get_model(SMALL, weights=None).state_dict()


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda w: w.pop("features.0.bias"), "missing_keys", "'features.0.bias'"),
        (lambda w: w.update(surplus=w["features.0.bias"].clone()), "extra_keys", "'surplus'"),
    ],
    ids=["missing", "extra"],
)
def test_weights_that_do_not_fit_the_network(
    durian: Durian, data: Path, tmp_path: Path, weights: Any, kind: str, change: Any, code: str, words: str
) -> None:
    changed = {name: tensor.clone() for name, tensor in weights.items()}
    change(changed)
    path = tmp_path / f"w.{kind}"
    write_weights(path, changed)
    assert words in refused(durian("add", f"torchvision/{SMALL}", "--weights", path), code, data)


def write_weights(path: Path, tensors: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)


def test_a_pickled_network(durian: Durian, data: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    line = refused(durian("add", f"torchvision/{SMALL}", "--weights", tmp_path / "w.pt"), "pickle", data)
    assert "save model.state_dict()" in line


def test_an_official_name_with_another_checksum(durian: Durian, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    official = tmp_path / "resnet18-f37072fd.pth"
    official.write_bytes(b"cut short")
    assert official.name in refused(
        durian("add", "torchvision/resnet18", "--weights", official), "checksum", data
    )
    cached = tmp_path / "torch/hub/checkpoints" / official.name
    cached.parent.mkdir(parents=True)
    shutil.copy(official, cached)
    assert "TORCH_HOME" in refused(durian("add", "torchvision/resnet18"), "checksum", data)


def test_no_network_for_official_weights(durian: Durian, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert "--weights FILE" in refused(durian("add", "torchvision/resnet18"), "no_network", data)


def test_a_classifier_that_does_not_exist(durian: Durian, data: Path) -> None:
    pytest.importorskip("torchvision")
    line = refused(durian("add", "torchvision/resnet81"), "backbone_not_found", data)
    assert "resnet18" in line


# --- the hub ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    from tests import hub_models

    folder = tmp_path_factory.mktemp("hub") / "model"
    hub_models.save(folder, "Bert")
    hub_models.save_tokenizer(folder)
    return folder


def from_hub(url: str, data: Path, name: str = "hub/some/model") -> Result:
    """The command in a process of its own: the hub's client reads its settings when it is imported."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {
        "HF_ENDPOINT": url,
        "HF_HOME": str(data.parent / "client"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "app", "backbones", "add", name],
        env=environment,
        capture_output=True,
        timeout=90,
        check=False,
    )
    return Result(CliRunner(), done.stdout, done.stderr, b"", None, done.returncode, None)


@pytest.mark.slow
def test_a_model_is_downloaded_once_its_checksum_agrees(bert: Path, data: Path) -> None:
    with serving(bert, "some/model") as url:
        result = from_hub(url, data)
    assert result.exit_code == 0, result.stderr
    (card,) = Shelf([data / "backbones"]).list()
    assert card.source == f"some/model, revision {REVISION[:12]} of the Hugging Face hub"


def test_a_hub_id_that_does_not_exist(bert: Path, data: Path) -> None:
    with serving(bert, "some/model") as url:
        refused(from_hub(url, data, "hub/some/other"), "backbone_not_found", data)


def test_no_network_for_the_hub(data: Path) -> None:
    pytest.importorskip("huggingface_hub")
    assert "--weights FOLDER" in refused(from_hub("http://127.0.0.1:9", data), "no_network", data)


def test_a_download_whose_checksum_differs(bert: Path, data: Path) -> None:
    with serving(bert, "some/model", digest="0" * 64) as url:
        assert "model.safetensors" in refused(from_hub(url, data), "checksum", data)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda w: w.pop("encoder.layer.0.output.dense.weight"), "missing_keys"),
        (lambda w: w.update(surplus=w["embeddings.LayerNorm.bias"].clone()), "extra_keys"),
        (None, "pickle"),
    ],
    ids=["missing", "extra", "pickle"],
)
def test_a_folder_whose_weights_do_not_fit(
    durian: Durian, data: Path, tmp_path: Path, bert: Path, change: Any, code: str
) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    path = folder / "model.safetensors"
    if change is None:
        path.rename(folder / "pytorch_model.bin")
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})
    refused(durian("add", "hub/some/model", "--weights", folder), code, data)


# --- interrupted --------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from training.backbones import {module}
{module}.{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from training.backbones.__main__ import main
main(sys.argv[1:])
"""


def killed(module: str, step: str, *arguments: object) -> None:
    """Run the training side until a step, where it kills itself as the system would."""
    command = [sys.executable, "-c", KILLED.format(module=module, step=step), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=90, check=False)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("step", ["write_backbone", "prove", "publish_folder"])
def test_an_add_that_is_killed_never_appears_and_can_be_made_again(
    durian: Durian, data: Path, tmp_path: Path, step: str
) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 1 0\nhorse 0 2\n")
    killed("draft", step, "add", "vectors/mine", "--weights", path, "--root", data / "backbones")
    again_without_a_trace(durian, data, "add", "vectors/mine", "--weights", path)


@pytest.mark.parametrize("step", ["probe", "publish_folder"])
def test_an_import_that_is_killed_never_appears_and_can_be_made_again(
    durian: Durian, data: Path, tmp_path: Path, step: str
) -> None:
    path = tiny.image_model(tmp_path / "m.onnx")
    (tmp_path / "spec.json").write_bytes(orjson.dumps(tiny.IMAGE_SPEC | {"pool": "channels_first"}))
    options = [
        "--name",
        "mine",
        "--modality",
        "image",
        "--preprocess",
        tmp_path / "spec.json",
        "--output",
        "map",
    ]
    killed("onnx_import", step, "import", path, *options, "--root", data / "backbones")
    again_without_a_trace(durian, data, "import", path, *options)


def again_without_a_trace(durian: Durian, data: Path, *command: object) -> None:
    """Nothing of the killed one is seen, and the same command then leaves the backbone and nothing else."""
    family = next((data / "backbones").iterdir())
    assert [folder.name.startswith(TEMPORARY) for folder in family.iterdir()] == [True]
    assert Shelf([data / "backbones"]).list() == []
    assert f"{family.name}/" not in durian("verify").stdout
    done = durian(*command)
    assert done.exit_code == 0, done.stderr
    assert [folder.name for folder in family.iterdir()] == ["mine"]
    assert f"ok      {family.name}/mine" in durian("verify", f"{family.name}/mine").stdout


def test_what_another_process_is_writing_is_not_tidied_away(tmp_path: Path) -> None:
    with staged(tmp_path) as folder:
        (tmp_path / f"{TEMPORARY}left").mkdir()
        (tmp_path / "other").mkdir()
        np.save(folder / "x.npy", np.zeros(3))
        tidy(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, "other"])
        assert (folder / "x.npy").exists()
