"""Drafts of every family of networks that can be added, with random weights; one with real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torchvision import models  # type: ignore[import-untyped]
from transformers import ASTFeatureExtractor

from models.backbone import write_backbone
from models.runtime import Backbone
from tests import hub_models as tiny
from tests.real_weights import MOBILENET, mobilenet_v2
from training.backbones.draft import Draft, card_of
from training.backbones.hub import families
from training.backbones.hub.files import check_folder
from training.backbones.vision import network, origin
from training.backbones.vision.state import fit

Make = Callable[[Path], Draft]
"""Makes a draft; may write into the empty folder it is given."""

TORCHVISION = (
    "resnet18",
    "alexnet",
    "squeezenet1_0",
    "vgg16",
    "densenet161",
    "inception_v3",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "efficientnet_b0",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_16",
    "vit_b_32",
    "swin_t",
)
TEXT = ("Bert", "Roberta", "MPNet", "DistilBert", "Electra", "Albert")
SQUASHED, CROPPED = ("ViT", "DeiT"), ("Dinov2", "ConvNext", "ConvNextV2", "ResNet")
SPEECH = ("Wav2Vec2", "Hubert")
HUB = (*TEXT, *SQUASHED, *CROPPED, "AST", *SPEECH)


def classifier(name: str) -> Draft:
    """A classifier of torchvision, its weights by torch's generator at 0."""
    found = origin.find(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.get_model(name, weights=None, **origin.OPTIONS.get(name, {})).eval()
    return network.draft(net, found.preprocess, found.scaling)


def real_classifier(data: Path) -> Draft:
    """mobilenet_v2 with the real weights of the test data."""
    found = origin.find("mobilenet_v2")
    net = models.mobilenet_v2(weights=None)
    fit(net, mobilenet_v2(data / MOBILENET))
    return network.draft(net.eval(), found.preprocess, found.scaling)


def encoder(family: str, folder: Path) -> Draft:
    """A tiny encoder of the hub, saved in `folder` as the hub publishes it and read from there."""
    with torch.random.fork_rng():
        tiny.save(folder, family)
    _write_inputs(family, folder)
    return families.draft(folder, check_folder(folder))


def _write_inputs(family: str, folder: Path) -> None:
    processor: Mapping[str, Any]
    if family in TEXT:
        return tiny.save_tokenizer(folder)
    if family == "AST":
        ASTFeatureExtractor(num_mel_bins=32, max_length=40).save_pretrained(folder)
        return None
    if family in SPEECH:
        processor = {"sampling_rate": 16_000, "do_normalize": True}
    else:
        processor = tiny.SQUASH if family in SQUASHED else tiny.CROP | tiny.IMAGENET
    return tiny.write_json(folder / "preprocessor_config.json", processor)


def written(draft: Draft, folder: Path) -> Backbone:
    """The draft as a backbone in `folder`, loaded."""
    write_backbone(folder, card_of("test/network", draft, "none", "random weights"), draft.files)
    return Backbone(folder)
