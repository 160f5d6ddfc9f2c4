"""Classifiers of torchvision as backbones, with random weights: they compute what torch computes."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import orjson
import pytest
from PIL import Image

from models.backbone import ImagePreprocess, read_card
from models.errors import (
    Conflict,
    CorruptArtefact,
    DurianError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unavailable,
)
from models.runtime import Backbone
from training.backbones.__main__ import main
from training.backbones.vision import add

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")
functional = pytest.importorskip("torchvision.transforms.functional")

from tests import real_weights  # noqa: E402 (after torch is known to be there)
from training.backbones import draft as drafts  # noqa: E402
from training.backbones.hub.torch_side import to_onnx  # noqa: E402
from training.backbones.vision import network, origin, state  # noqa: E402

SLOW = pytest.mark.slow
SIX = [
    pytest.param("resnet18", "fc", [64, 64, 128, 256], 512),
    pytest.param("alexnet", "classifier.6", [64, 192, 256, 256], 4096),
    pytest.param("squeezenet1_0", "classifier.1", [96, 256, 512], 512),
    pytest.param("vgg16", "classifier.6", [64, 128, 256, 512, 512, 512], 4096, marks=SLOW),
    pytest.param("densenet161", "classifier", [96, 384, 768, 2112, 2208], 2208, marks=SLOW),
    pytest.param("inception_v3", "fc", [64, 192, 288, 768], 2048, marks=SLOW),
]
SMALL = "squeezenet1_0"


def silent(line: str) -> None:
    assert line.startswith("torchvision/")


def random_network(name: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.get_model(name, weights=None, **origin.OPTIONS.get(name, {})).eval()


def save(net: Any, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights of the smallest of the six."""
    return save(random_network(SMALL), tmp_path_factory.mktemp("weights") / "small.pt")


def place(path: Path, root: Path, name: str = SMALL) -> Any:
    return add(name, weights=path, root=root, emit=silent)


def picture(seed: int) -> bytes:
    """A PNG of 256 x 256 blotches: of most networks the frame is its middle, with nothing to resize."""
    colours = np.random.default_rng(seed).integers(0, 256, (16, 16, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.kron(colours, np.ones((16, 16, 1))).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def photographs() -> list[bytes]:
    """Two real pictures where the folder of test data is there; the project holds none."""
    folder = Path(os.environ.get("DURIAN_TEST_DATA", "absent")) / "image" / "samples"
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:2]]


def read_by_head(net: Any, head: str, pictures: list[Any]) -> Any:
    """What the layer of class scores reads, scaled by torchvision; each picture alone."""
    read: list[Any] = []
    hook = net.get_submodule(head).register_forward_pre_hook(lambda _, given: read.append(given[0]))
    with torch.no_grad():
        for pixels in pictures:
            tensor = functional.to_tensor(pixels.copy())
            net(functional.normalize(tensor, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None])
    hook.remove()
    return np.concatenate([one.numpy() if one.ndim == 2 else one.mean((2, 3)).numpy() for one in read])


@pytest.mark.parametrize(("name", "head", "stages", "dim"), SIX)
def test_a_classifier_computes_what_torch_computes(
    name: str, head: str, stages: list[int], dim: int, tmp_path: Path
) -> None:
    net = random_network(name)
    card = place(save(net, tmp_path / "weights.pt"), tmp_path, name)
    plain = {tap.name: tap.dim for tap in card.taps if "_stat" not in tap.name}
    names = ["stem", *(f"stage{n}" for n in range(1, len(stages)))]
    assert plain == dict(zip(names, stages, strict=True)) | {"embedding": dim}
    assert all(t.dim == 2 * plain.get(t.name[:-5], t.dim // 2) for t in card.taps if "_stat" in t.name)
    depths = [tap.depth for tap in card.taps]
    assert depths == sorted(depths)
    assert 0 < depths[0] < depths[-1] == 1
    assert card.parameters < sum(p.numel() for p in net.parameters())
    check_embedding(Backbone(tmp_path / card.id), net, head)


def check_embedding(backbone: Backbone, net: Any, head: str) -> None:
    prepared = [backbone.preprocessor.prepare(data) for data in (picture(0), picture(1), *photographs())]
    together = backbone.run(prepared, ["embedding"])["embedding"]
    alone = np.concatenate([backbone.run([one], ["embedding"])["embedding"] for one in prepared])
    expected = read_by_head(net, head, prepared)
    scale = np.abs(expected).max()
    assert np.abs(together - alone).max() <= 1e-5 * scale
    assert np.abs(together - expected).max() <= 1e-4 * scale
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * scale  # else nothing would be compared


def test_stages_are_means_and_deviations_over_space(small: Path, tmp_path: Path) -> None:
    backbone = Backbone(tmp_path / place(small, tmp_path).id)
    prepared = backbone.preprocessor.prepare(picture(0))
    got = backbone.run([prepared], ["stem", "stem_stat"])
    pixels = models.get_model_weights(SMALL).DEFAULT.transforms()(Image.open(io.BytesIO(picture(0))))
    with torch.no_grad():
        stem = random_network(SMALL).features[:2](pixels[None])
    mean, deviation = stem.mean((2, 3)), stem.std((2, 3), correction=0)
    assert got["stem"] == pytest.approx(mean.numpy(), abs=1e-5)
    assert got["stem_stat"] == pytest.approx(torch.cat([mean, deviation], 1).numpy(), abs=1e-5)


def test_the_card_says_how_and_whence(small: Path, tmp_path: Path) -> None:
    card = place(small, tmp_path)
    assert card == read_card(tmp_path / "torchvision" / SMALL)
    assert card.preprocess == ImagePreprocess(
        width=224, height=224, fit="crop", crop_ratio=224 / 256, reducing_gap=2.0
    )
    assert hashlib.sha256(small.read_bytes()).hexdigest() in card.source
    assert card.licence == "BSD-3-Clause (code); terms of the weights: not stated"
    assert origin.find("inception_v3").preprocess.width == 299


def test_safetensors_give_the_same_and_adding_twice_is_no_error(small: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first = place(small, tmp_path)
    weights = torch.load(small, weights_only=True)
    save_file(dict(weights), tmp_path / "w.safetensors")
    assert place(tmp_path / "w.safetensors", tmp_path) == first
    weights["features.0.bias"] += 1
    torch.save(weights, tmp_path / "other.pt")
    with pytest.raises(Conflict):
        place(tmp_path / "other.pt", tmp_path)
    assert read_card(tmp_path / first.id) == first


def test_the_command_prints_one_line(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["add", f"torchvision/{SMALL}", "--weights", str(small), "--root", str(tmp_path)]
    assert main(arguments) == 0
    answer = orjson.loads(capfd.readouterr().out)
    assert answer["digest"] == read_card(tmp_path / "torchvision" / SMALL).digest
    assert main(["add", "torchvision/resnet81", "--root", str(tmp_path)]) == 1
    error = orjson.loads(capfd.readouterr().out)["error"]
    assert error["code"] == "backbone_not_found"
    assert "resnet18" in error["message"]


def refusal(kind: type[DurianError], path: Path | None, root: Path, name: str = SMALL) -> DurianError:
    """The error of adding; nothing may be left where backbones are."""
    with pytest.raises(kind) as caught:
        add(name, weights=path, root=root / "root", emit=silent)
    assert list((root / "root").glob("*/*")) == []
    assert str(root) not in caught.value.message
    return caught.value


def test_missing_extra_and_misshapen_keys_are_named(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    weights = torch.load(small, weights_only=True)
    bias = weights.pop("features.0.bias")
    torch.save(weights, path)
    error = refusal(InvalidInput, path, tmp_path)
    assert error.code == "missing_keys"
    assert "'features.0.bias'" in error.message
    torch.save(weights | {"features.0.bias": bias, "surplus": bias}, path)
    error = refusal(InvalidInput, path, tmp_path)
    assert error.code == "extra_keys"
    assert "'surplus'" in error.message
    torch.save(weights | {"features.0.bias": bias[1:]}, path)
    error = refusal(InvalidInput, path, tmp_path)
    assert error.code == "shapes"
    assert "'features.0.bias'" in error.message


class Trap:
    """Unpickled by anything but a careful reader, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    assert refusal(InvalidInput, path, tmp_path).code == "pickle"
    torch.save({"weights": Trap(tmp_path / "run")}, path)
    assert refusal(InvalidInput, path, tmp_path).code == "pickle"
    assert not (tmp_path / "run").exists()


def test_other_files_are_refused(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"state_dict": torch.load(small, weights_only=True)}, path)
    assert refusal(InvalidInput, path, tmp_path).code == "state_dict"
    for data in (b"", b"no weights at all", small.read_bytes()[:5000]):
        for name in ("w.pt", "w.safetensors"):
            (tmp_path / name).write_bytes(data)
            assert refusal(InvalidInput, tmp_path / name, tmp_path).code in ("weights", "pickle")
    assert refusal(InvalidInput, tmp_path / "absent.pt", tmp_path).code == "weights"
    assert refusal(InvalidInput, tmp_path, tmp_path).code == "weights"


def test_weights_that_are_not_finite_are_refused(small: Path, tmp_path: Path) -> None:
    weights = torch.load(small, weights_only=True)
    weights["features.3.squeeze.weight"][:] = float("nan")
    torch.save(weights, tmp_path / "w.pt")
    assert refusal(InvalidInput, tmp_path / "w.pt", tmp_path).code == "non_finite"


def test_an_export_that_differs_is_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(net: Any, *rest: Any) -> bytes:
        with torch.no_grad():
            net.features[0].bias += 0.01
        return to_onnx(net, *rest)

    monkeypatch.setattr(network, "to_onnx", wrong)
    assert refusal(CorruptArtefact, small, tmp_path).code == "parity"


def test_an_unknown_name_and_a_giant_are_refused(tmp_path: Path) -> None:
    error = refusal(NotFound, None, tmp_path, "resnet81")
    assert error.code == "backbone_not_found"
    assert "resnet18" in error.message
    refusal(NotFound, None, tmp_path, "../resnet18")
    refusal(TooLarge, None, tmp_path, "vit_h_14")


def test_without_torch_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("training.backbones.vision.network")
    monkeypatch.setitem(sys.modules, "training.backbones.vision.network", None)
    error = refusal(Unavailable, None, tmp_path)
    assert error.code == "no_torch"
    assert "durian[torch]" in error.message


@pytest.fixture
def official(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the official file, at an address that torch's own client can read without a network."""
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    path = tmp_path / "site" / f"{SMALL}-{digest[:8]}.pth"
    path.parent.mkdir()
    path.write_bytes(small.read_bytes())
    real = models.get_model_weights(SMALL).DEFAULT
    stand_in = SimpleNamespace(url=path.as_uri(), transforms=real.transforms, meta=real.meta)
    monkeypatch.setattr(origin, "find", lambda name: origin.Classifier(name, stand_in))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    return path


def test_official_weights_are_fetched_once_and_their_checksum_is_tested(
    official: Path, tmp_path: Path
) -> None:
    card = add(SMALL, weights=None, root=tmp_path, emit=silent)
    assert official.name in card.source
    assert "ImageNet-1K" in card.licence
    official.unlink()
    assert add(SMALL, weights=None, root=tmp_path, emit=silent) == card
    (tmp_path / "cache" / "checkpoints" / official.name).write_bytes(b"cut")
    assert refusal(CorruptArtefact, None, tmp_path).code == "checksum"


def test_a_wrong_checksum_is_refused(official: Path, tmp_path: Path) -> None:
    official.write_bytes(official.read_bytes() + b"more")
    assert refusal(CorruptArtefact, None, tmp_path).code == "checksum"
    assert list((tmp_path / "cache" / "checkpoints").iterdir()) == []
    assert refusal(CorruptArtefact, official, tmp_path).code == "checksum"


def test_no_network_is_told(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    error = refusal(Unavailable, None, tmp_path)
    assert error.code == "no_network"
    assert "--weights" in error.message


def test_old_names_and_absent_helpers_fit() -> None:
    """The official DenseNets write norm.1 for norm1; old files lack counters, and some the helpers."""
    net = models.DenseNet(4, (1, 1), 4, 2, num_classes=3)
    renamed = {
        key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value + 1
        for key, value in net.state_dict().items()
        if not key.endswith(state.COUNTER)
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in renamed
    state.fit(net, renamed)
    assert net.features.denseblock1.denselayer1.norm1.weight.tolist() == [2] * 4
    with_helper = torch.nn.ModuleDict({"fc": torch.nn.Linear(1, 1), "AuxLogits": torch.nn.Linear(1, 1)})
    state.fit(with_helper, {"fc.weight": torch.ones(1, 1), "fc.bias": torch.ones(1)})
    assert with_helper["fc"].bias.item() == 1


def tiny_vit() -> Any:
    net = models.VisionTransformer(32, 8, num_layers=4, num_heads=2, hidden_dim=8, mlp_dim=16)
    torch.nn.init.normal_(net.heads.head.weight)
    return net


def tiny_swin() -> Any:
    return models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [4, 4])


@pytest.mark.parametrize(
    ("make", "dims"),
    [
        (tiny_vit, {"stem": 8, "stage1": 8, "stage2": 8, "stage3": 8, "stage4": 8, "embedding": 8}),
        (tiny_swin, {"stem": 8, "embedding": 16}),
    ],
)
def test_networks_of_tokens_and_of_channels_last(make: Any, dims: dict[str, int], tmp_path: Path) -> None:
    how = ImagePreprocess(width=32, height=32)
    scaling = network.Scaling((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    draft = network.draft(make().eval(), how, scaling)
    card = drafts.place(drafts.card_of("torchvision/tiny", draft, "none", "random"), draft, tmp_path, silent)
    assert {tap.name: tap.dim for tap in card.taps if "_stat" not in tap.name} == dims


# --- real weights -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file of real weights of mobilenet_v2, and the folder they are from."""
    data = os.environ.get("DURIAN_TEST_DATA")
    if not data or not (Path(data) / real_weights.MOBILENET).is_dir():
        pytest.skip("DURIAN_TEST_DATA names no folder with the weights of MobileNetV2")
    folder = Path(data) / real_weights.MOBILENET
    path = tmp_path_factory.mktemp("real") / "weights.pt"
    torch.save(real_weights.mobilenet_v2(folder), path)
    return path, folder


def test_real_weights_compute_what_torch_computes(mobilenet: tuple[Path, Path], tmp_path: Path) -> None:
    weights, folder = mobilenet
    net = models.mobilenet_v2(weights=None)
    net.load_state_dict(torch.load(weights, weights_only=True))
    card = place(weights, tmp_path, "mobilenet_v2")
    backbone = Backbone(tmp_path / card.id)
    check_embedding(backbone, net.eval(), "classifier.1")
    # The same pictures through the model that the weights are from, which pads its maps otherwise.
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        pictures, expected, logits = (golden[name] for name in ("images_uint8_nhwc", "embedding", "logits"))
    got = backbone.run(list(pictures), ["embedding"])["embedding"]
    cosines = (got * expected).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.8
    named = net.classifier(torch.from_numpy(got)).argmax(1).numpy()
    assert np.mean(named == logits[:, 1:].argmax(1)) >= 0.75  # class 0 there is the background
