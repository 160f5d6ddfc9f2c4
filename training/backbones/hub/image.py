"""Vision encoders: transformers over patches (ViT, DeiT, DINOv2) and convolutional (ConvNeXt, ResNet)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import GRAPH, REDUCING_GAP, ImagePreprocess
from training.backbones.adapt import EMBEDDING
from training.backbones.draft import Draft, levels, list_taps
from training.backbones.forms import both_forms
from training.backbones.hub.files import read_json, refused
from training.backbones.hub.torch_side import (
    Forward,
    count_parameters,
    fix_positions,
    mean_and_stat,
    run_taps,
    to_onnx,
)

PATCHES = frozenset({"vit", "deit", "dinov2"})
CONVOLUTIONS = frozenset({"convnext", "convnextv2", "resnet"})
FAMILIES = PATCHES | CONVOLUTIONS
PROCESSOR = "preprocessor_config.json"
RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
USUAL_RESAMPLE = {"dinov2": 3, "deit": 3, "convnext": 2, "convnextv2": 2, "resnet": 2, "vit": 2}
SQUASHED_FROM = 384  # ConvNeXt's processor cuts the centre only of smaller pictures
USUAL_CROP = 224 / 256


def draft(folder: Path, model: Any) -> Draft:
    """The backbone of a loaded vision encoder. Raises InvalidInput (code `processor`)."""
    family = model.config.model_type
    processor = read_json(folder / PROCESSOR)
    how = read_processor(processor, family)
    gain, offset = affine(processor)
    kind = "stage" if family in CONVOLUTIONS else "layer"
    depth = len(model.config.depths) if family in CONVOLUTIONS else model.config.num_hidden_layers
    steps = levels(depth)
    forward: Forward = partial(pooled, gain=gain, offset=offset, steps=steps, patches=family in PATCHES)
    examples = _examples(how)
    names = [*both_forms(kind, steps), EMBEDDING]
    expected, forward = run_taps(model, forward, names, [(pixels,) for pixels in examples])
    if family == "dinov2":
        fix_positions(model, how.height, how.width)
    graph = to_onnx(model, forward, {"image": np.stack(examples[:2])}, [*expected], {0: "N"})
    return Draft(
        files={GRAPH: graph},
        preprocess=how,
        input="image",
        taps=list_taps(expected, {f"{kind}_{i}": i / depth for i in steps}),
        parameters=count_parameters(graph),
        examples=examples,
        expected=expected,
    )


def pooled(
    model: Any,
    pixels: Any,
    *,
    gain: Sequence[float],
    offset: Sequence[float],
    steps: Sequence[int],
    patches: bool,
) -> list[Any]:
    """uint8 [N, H, W, 3] -> both forms of the states over space, and the top: CLS token, or pooled map."""
    x = pixels.float()
    x = x * x.new_tensor(gain) - x.new_tensor(offset)
    answer = model(pixel_values=x.permute(0, 3, 1, 2), output_hidden_states=True)
    space = (1,) if patches else (2, 3)
    states = [*answer.hidden_states[: max(steps)], answer.last_hidden_state]
    top = answer.last_hidden_state[:, 0] if patches else answer.pooler_output.flatten(1)
    return [*(tap for i in steps for tap in mean_and_stat(states[i], space)), top]


def affine(processor: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Gain and offset a channel: `(pixel * rescale_factor - mean) / std` is `pixel * gain - offset`."""
    scale = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if processor.get("do_normalize", True):
        mean, std = (_channels(processor.get(name)) for name in ("image_mean", "image_std"))
    if not all(std):
        raise refused(f"{PROCESSOR} has a standard deviation of 0.", "processor")
    return [scale / s for s in std], [m / s for m, s in zip(mean, std, strict=True)]


def _channels(values: Any) -> list[float]:
    if isinstance(values, list) and len(values) == 3:
        return [float(value) for value in values]
    raise refused(f"{PROCESSOR} must give image_mean and image_std of three channels.", "processor")


def read_processor(processor: dict[str, Any], family: str) -> ImagePreprocess:
    """How a picture meets the frame. Raises InvalidInput (code `processor`) for other ways."""
    resample = RESAMPLE.get(processor.get("resample", USUAL_RESAMPLE[family]))
    width, height, fit, ratio = _frame(processor, family)
    if resample is None or not 1 <= min(width, height) <= max(width, height) <= 4096:
        raise refused(f"{PROCESSOR} asks for another way of resizing than Durian has.", "processor")
    return ImagePreprocess.model_validate(
        {
            "width": width,
            "height": height,
            "fit": fit,
            "crop_ratio": ratio,
            "resample": resample,
            "reducing_gap": REDUCING_GAP,
        }
    )


def _frame(processor: dict[str, Any], family: str) -> tuple[int, int, str, float]:
    """Width, height, fit and crop ratio."""
    match processor.get("size"), processor.get("crop_size"):
        case {"height": int(height), "width": int(width)}, _ if not processor.get("do_center_crop"):
            return width, height, "squash", 1.0
        case int(side), _ if family in ("vit", "deit") and not processor.get("do_center_crop"):
            return side, side, "squash", 1.0
        case (({"shortest_edge": int(side)} | int(side)), None) if family in CONVOLUTIONS:
            if side >= SQUASHED_FROM:
                return side, side, "squash", 1.0
            return side, side, "crop", float(processor.get("crop_pct") or USUAL_CROP)
        case (
            ({"shortest_edge": int(short)} | {"height": int(short)} | int(short)),
            ({"height": int(side), "width": int(other)}),
        ) if side == other <= short:
            return side, side, "crop", side / short
        case (({"shortest_edge": int(short)} | int(short)), int(side)) if side <= short:
            return side, side, "crop", side / short
    raise refused(f"The folder has no {PROCESSOR} with the size of pictures that Durian knows.", "processor")


def _examples(how: ImagePreprocess) -> list[NDArray[np.uint8]]:
    """Noise, a dark picture, and a ramp: [height, width, 3]."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (how.height, how.width, 3), np.uint8)
    ramp = np.linspace(0, 255, noise.size).reshape(noise.shape).astype(np.uint8)
    return [noise, noise // 16, ramp]
