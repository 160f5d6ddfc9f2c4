"""Where a classifier comes from: torchvision's list, its official weights, or a file of weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torchvision  # type: ignore[import-untyped]
from torchvision import models

from models.backbone import REDUCING_GAP, ImagePreprocess
from models.errors import CorruptArtefact, NotFound, TooLarge, Unavailable
from training.backbones.hub.files import LARGEST, is_of_disk, refused, sha256_of
from training.backbones.vision.network import Scaling
from training.backbones.vision.state import fit, read_state

CHECKSUM = re.compile(r"-([0-9a-f]{8,})\.pth$")  # torch.hub's rule: the name ends in a SHA-256's beginning
FREE_OF_INIT = {"init_weights": False}
OPTIONS: dict[str, dict[str, Any]] = {
    # The official weights of these two were trained on inputs of another scale, and with helper outputs.
    "inception_v3": FREE_OF_INIT | {"transform_input": True, "aux_logits": True},
    "googlenet": FREE_OF_INIT | {"transform_input": True, "aux_logits": True},
}
OTHERWISE = "Download the file elsewhere and give it with --weights FILE."


@dataclass(frozen=True)
class Classifier:
    """A classifier of torchvision with its default weights (a member of torchvision's enum)."""

    name: str
    weights: Any

    @property
    def preprocess(self) -> ImagePreprocess:
        """How its pictures are decoded and cut; the graph normalises."""
        how = self.weights.transforms()
        (side,), (resized,) = how.crop_size, how.resize_size
        return ImagePreprocess(
            width=side,
            height=side,
            fit="crop",
            crop_ratio=side / resized,
            resample=how.interpolation.value,
            reducing_gap=REDUCING_GAP,
        )

    @property
    def scaling(self) -> Scaling:
        """How the network wants its pixels."""
        how = self.weights.transforms()
        return Scaling(tuple(how.mean), tuple(how.std))

    @property
    def file(self) -> str:
        """Name of the official file."""
        return str(self.weights.url).rpartition("/")[2]

    @property
    def source(self) -> str:
        """Who the official weights are."""
        return f"torchvision {torchvision.__version__}, {self.weights} ({self.file})"

    def licence(self, source: str) -> str:
        """The code's licence, and what torchvision says of the weights."""
        own = "those of their training data (ImageNet-1K)" if source == self.source else "not stated"
        return f"BSD-3-Clause (code); terms of the weights: {self.weights.meta.get('license') or own}"


def find(name: str) -> Classifier:
    """The classifier of that name. Raises NotFound, naming near ones."""
    known = models.list_models(module=models)
    if name not in known:
        near = ", ".join(get_close_matches(name, known, cutoff=0.5)) or "resnet18, vgg16, densenet161"
        message = f"torchvision has no classifier of that name. Near ones: {near}."
        raise NotFound(message, code="backbone_not_found", param="id")
    return Classifier(name, models.get_model_weights(name).DEFAULT)


def load(classifier: Classifier, weights: Path | None) -> tuple[Any, str]:
    """The network in evaluation mode, and where its weights are from.

    Raises InvalidInput (see `state`), TooLarge above 1.9 GB, Unavailable (code `no_network`), and
    CorruptArtefact (code `checksum`) where a file of an official name is not the official one.
    """
    size = 4 * int(classifier.weights.meta["num_params"])
    if size > LARGEST:
        message = "The weights are larger than 1.9 GB: choose a smaller model."
        raise TooLarge(message, param="id")
    file = weights or download(classifier)
    source = _recognise(classifier, file)
    net = models.get_model(classifier.name, weights=None, **OPTIONS.get(classifier.name, {}))
    fit(net, read_state(file))
    return net.eval(), source


def download(classifier: Classifier) -> Path:
    """The official file in torch's cache, fetched if need be by torch's own client, checksum tested."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / classifier.file
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(
                classifier.weights.url, str(file), hash_prefix=_prefix(classifier.file), progress=False
            )
        except OSError as error:  # all of urllib's errors are
            if is_of_disk(error):
                raise
            message = f"The official weights cannot be fetched from this machine. {OTHERWISE}"
            raise Unavailable(message, code="no_network", param="weights") from None
        except RuntimeError:
            message = "What was fetched differs from the official checksum: try again."
            raise CorruptArtefact(message, code="checksum", param="weights") from None
    return file


def _recognise(classifier: Classifier, file: Path) -> str:
    """The source of a file: official where it has the official name, and then its checksum must agree."""
    digest = _digest(file)
    if file.name != classifier.file:
        return f"torchvision {torchvision.__version__}, {classifier.name}; weights of SHA-256 {digest}"
    if not digest.startswith(_prefix(file.name)):
        message = (
            f"{file.name} differs from the official file of that name, by its SHA-256: delete it (without "
            "--weights it lies in torch's cache, TORCH_HOME) and fetch it again, or rename your own weights."
        )
        raise CorruptArtefact(message, code="checksum", param="weights")
    return classifier.source


def _digest(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError:
        raise refused("The file of weights cannot be read.", "weights") from None


def _prefix(file: str) -> str:
    """The beginning of the SHA-256 that an official name tells."""
    found = CHECKSUM.search(file)
    if found is None:
        raise Unavailable(f"The official weights have no checksum. {OTHERWISE}", code="no_checksum")
    return found[1]
