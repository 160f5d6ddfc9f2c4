"""A tiny backbone of every family, made with random weights: name -> folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import models
from transformers import ASTFeatureExtractor

from models.backbone import GRAPH, BackboneCard, ImagePreprocess, read_card
from tests import hub_models as tiny
from tests import onnx_models
from training.backbones import draft as drafts
from training.backbones import hub
from training.backbones.adapt import adapt
from training.backbones.hub import audio, image, spectrogram
from training.backbones.operators import load_model
from training.backbones.part import choose_part
from training.backbones.spec import read_spec
from training.backbones.vectors.graph import TAPS, averages
from training.backbones.vision import network, origin

TEXT = ("Bert", "Roberta", "MPNet", "DistilBert", "Electra", "Albert")
VISION = ("ViT", "DeiT", "Dinov2", "ConvNext", "ConvNextV2", "ResNet")
SPEECH = ("Wav2Vec2", "Hubert", "AST")
NETS: dict[str, Callable[[], Any]] = {
    "densenet": lambda: models.DenseNet(4, (1, 1), 4, 2),
    "mobilenet_v2": lambda: models.MobileNetV2(width_mult=0.25),
    "swin": lambda: models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [4, 4]),
    "alexnet": lambda: _narrow(models.alexnet(), 256 * 36),
    "vgg": lambda: _narrow(models.VGG(models.vgg.make_layers([4, "M", 8, "M", 8, "M"])), 8 * 49),
    "vit": lambda: models.VisionTransformer(32, 8, 4, 2, 8, 16),
}
NAMED = {"googlenet": 64, "inception_v3": 96, "mobilenet_v3_small": 64, "resnet18": 64}
NAMED |= {"shufflenet_v2_x0_5": 64, "squeezenet1_0": 64}
IMPORTS = ("onnx-image", "onnx-stages", "onnx-text")
LARGE = ("googlenet", "inception_v3")
SIDES = {"alexnet": 224, "vgg": 56}


def _narrow(net: Any, read: int) -> Any:
    """With a classifier of some thousands of weights, in place of a hundred million."""
    layers = [torch.nn.Linear(read, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU()]
    net.classifier = torch.nn.Sequential(*layers, torch.nn.Linear(8, 3))
    return net


@dataclass(frozen=True)
class Family:
    """A graph and its taps from the bottom to the top; `folder` where there is a whole backbone.

    `depths` is at how many places, at least, the taps must be.
    """

    graph: bytes
    taps: tuple[str, ...]
    folder: Path | None = None
    depths: int = 2


def all_names() -> list[str]:
    return [*TEXT, *VISION, *SPEECH, *NETS, *NAMED, "vectors", *IMPORTS, "bert-flat"]


def make(name: str, folder: Path) -> Family:
    """The family's backbone, in `folder`."""
    if name == "vectors":
        return Family(_vectors(), TAPS, depths=1)
    if name in IMPORTS:
        return _imported(name, folder)
    if name in NETS or name in NAMED:
        return _read(folder, _classifier(name, folder))
    return _read(folder, _hub(name, folder))


def _read(root: Path, card: BackboneCard) -> Family:
    folder = root / card.id
    return Family((folder / GRAPH).read_bytes(), tuple(tap.name for tap in read_card(folder).taps), folder)


def _vectors() -> bytes:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(9, 5)).astype(np.float32)
    return averages(table, draw.uniform(size=9).astype(np.float32), pieces=False)


def _imported(name: str, folder: Path) -> Family:
    if name == "onnx-text":
        model = load_model(onnx_models.text_model(folder / "m.onnx"))
        part, spec = choose_part(model, "ids", None), read_spec({"pool": "channels_last"}, "text")
    else:
        make = onnx_models.staged_model if name == "onnx-stages" else onnx_models.image_model
        part = choose_part(load_model(make(folder / "m.onnx")), None, "map")
        spec = read_spec(onnx_models.IMAGE_SPEC | {"pool": "channels_first"}, "image")
    made = adapt(part, spec)
    depths = 3 if name == "onnx-stages" else 0
    return Family(made.graph, tuple(tap.name for tap in made.taps), depths=depths)


def _classifier(name: str, root: Path) -> BackboneCard:
    side = NAMED.get(name) or SIDES.get(name, 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = (
            NETS[name]()
            if name in NETS
            else models.get_model(name, weights=None, **origin.OPTIONS.get(name, {}))
        )
        for parameter in net.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
    scaling = network.Scaling((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    draft = network.draft(net.eval(), ImagePreprocess(width=side, height=side), scaling)
    return drafts.place(drafts.card_of(f"torchvision/{name}", draft, "none", "random"), draft, root, str)


def _hub(name: str, root: Path) -> BackboneCard:
    source = root / "source"
    tiny.save(source, "Bert" if name == "bert-flat" else name)
    if name in VISION:
        tiny.write_json(source / image.PROCESSOR, tiny.CROP | tiny.IMAGENET)
    elif name == "AST":
        ASTFeatureExtractor(num_mel_bins=32, max_length=40).save_pretrained(source)
    elif name in SPEECH:
        tiny.write_json(source / audio.PROCESSOR, {"sampling_rate": 16_000})
    else:
        tiny.save_tokenizer(source)
        if name == "bert-flat":  # the kind that our own writer of graphs takes
            tiny.sentence_files(source, "mean_tokens", unit=True)
    return hub.add("some/model", weights=source, root=root, emit=str)


def shorten(patch: Callable[[Any, str, object], None]) -> None:
    """Clips of a quarter of a second."""
    patch(audio, "SECONDS", 0.25)
    patch(spectrogram, "SECONDS", 0.25)
