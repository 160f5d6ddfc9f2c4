"""Real weights from the folder of test data, in the form that torchvision's networks take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torchvision import models  # type: ignore[import-untyped]

MOBILENET = Path("weights/mobilenet_v2_1.0_224")
EPSILON = 1e-5  # torchvision's, added to a variance


def mobilenet_v2(folder: Path) -> dict[str, torch.Tensor]:
    """A state dict for torchvision's mobilenet_v2 from the float model in `folder`.

    There the normalisations are folded into the convolutions, inputs are pixels / 127.5 - 1, and class 0
    is the background; here each normalisation only adds the bias, and the first convolution takes
    torchvision's scaling in. Padding differs (TensorFlow's SAME), so features agree in kind, not in digits.
    """
    graph = onnx.load(folder / "model.onnx").graph
    given = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    _rescale(given)
    state = models.mobilenet_v2(weights=None).state_dict()
    for key in state:
        if key.endswith("weight") and state[key].ndim == 4:
            convolution = key.removesuffix(".weight")
            state[key] = given[key]
            state |= _adding(_normalisation(convolution), given[f"{convolution}.bias"])
    for kind in ("weight", "bias"):
        state[f"classifier.1.{kind}"] = given[f"classifier.1.{kind}"][1:]
    return state


def _rescale(given: dict[str, torch.Tensor]) -> None:
    """x / 127.5 - 1 in terms of (x / 255 - mean) / std."""
    how = models.MobileNet_V2_Weights.DEFAULT.transforms()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (how.mean, how.std))
    weight = given["features.0.0.weight"]
    given["features.0.0.bias"] = given["features.0.0.bias"] + (weight * (2 * mean - 1)).sum((1, 2, 3))
    given["features.0.0.weight"] = weight * 2 * std


def _normalisation(convolution: str) -> str:
    """The name of the normalisation after a convolution: the next one of its sequence."""
    parent, _, place = convolution.rpartition(".")
    return f"{parent}.{int(place) + 1}"


def _adding(name: str, bias: torch.Tensor) -> dict[str, Any]:
    one = torch.ones_like(bias)
    return {
        f"{name}.weight": one,
        f"{name}.bias": bias,
        f"{name}.running_mean": 0 * one,
        f"{name}.running_var": one - EPSILON,
    }
