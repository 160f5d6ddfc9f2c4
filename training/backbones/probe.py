"""The first run of an imported backbone: in a child process with little memory and little time.

The child answers with one line of JSON: the card, or the error it found.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.backbone import (
    AudioPreprocess,
    ImagePreprocess,
    Preprocess,
    SignalPreprocess,
    Tap,
    TextPreprocess,
)
from models.errors import InvalidInput
from models.modalities.base import Prepared
from models.runtime import Backbone, Features

SECONDS = 60
BASE_MEMORY = 4 * 1024**3  # address space that the libraries ask for before any model
MEMORY_FACTOR = 6
LOUDNESS = (1.0, 0.1, 0.01, 0.5)
TOLERANCE = 1e-4


def probe(folder: Path, seconds: float = SECONDS) -> None:
    """Load and run the backbone in `folder` in a limited child.

    Raises InvalidInput: `probe_limit` (it took too much time or memory, or crashed), `probe` (it cannot
    be loaded or run), `output_shape`, `non_finite`, `batch_variance`, or, where only lower taps are at
    fault, `taps`.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training.backbones", "probe", str(folder)]
    try:
        child = subprocess.run(  # noqa: S603 (our own module)
            command, env=environment, capture_output=True, timeout=seconds, check=False
        )
        answer = orjson.loads(child.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        raise refused("The model needs more time or memory than a backbone may.", "probe_limit") from None
    if error := answer.get("error"):
        raise refused(error["message"], error["code"])


def refused(message: str, code: str) -> InvalidInput:
    return InvalidInput(message, code=code, param="model")


def limit_self(folder: Path) -> None:
    """Bound this process's address space and CPU time for good."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    memory = BASE_MEMORY + MEMORY_FACTOR * size
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def examine(folder: Path) -> None:
    """Run the backbone on random examples, together and one by one. Raises as `probe`."""
    try:
        backbone = Backbone(folder)
        examples = random_examples(backbone)
    except Exception:  # ONNX Runtime's errors share no base, and their text quotes the model
        raise refused("ONNX Runtime cannot load or run the model.", "probe") from None
    check_taps(backbone, examples, [backbone.card.tap()])
    try:
        check_taps(backbone, examples, backbone.card.taps)
    except InvalidInput:
        raise refused("A tap below the model's output cannot be used.", "taps") from None


def check_taps(backbone: Backbone, examples: Sequence[Prepared], taps: Sequence[Tap]) -> None:
    """Raises InvalidInput, as `probe`, where the features of a tap are not to be relied on."""
    names = [tap.name for tap in taps]
    try:
        together = backbone.run(examples, names)
        singles = [backbone.run([example], names) for example in examples]
        alone = {name: np.concatenate([one[name] for one in singles]) for name in names}
    except Exception:  # as above
        raise refused("ONNX Runtime cannot load or run the model.", "probe") from None
    for tap in taps:
        check_features(together[tap.name], alone[tap.name], (len(examples), tap.dim))


def check_features(together: Features, alone: Features, shape: tuple[int, int]) -> None:
    """Raises InvalidInput: `output_shape`, `non_finite` or `batch_variance`."""
    if together.shape != shape or together.dtype != np.float32:
        raise refused("The model's output has another shape when it runs than it declares.", "output_shape")
    if not np.isfinite(together).all():
        raise refused("The model gives NaN or infinity on ordinary input.", "non_finite")
    check_alone(together, alone)


def check_alone(together: Features, alone: Features) -> None:
    """Raises InvalidInput (code `batch_variance`) when the answer depends on the rest of the batch."""
    scale = max(1.0, float(np.abs(alone).max()))
    if np.abs(together - alone).max() > TOLERANCE * scale:
        message = "The model answers differently when examples are batched: export it in evaluation mode."
        raise refused(message, "batch_variance")


def random_examples(backbone: Backbone) -> list[Prepared]:
    """Four examples of different loudness (or brightness, or length), as the preprocessor makes them."""
    draw = np.random.default_rng(0)
    return [_example(backbone.card.preprocess, draw, loudness) for loudness in LOUDNESS]


def _example(how: Preprocess, draw: np.random.Generator, loudness: float) -> Prepared:
    match how:
        case TextPreprocess():
            return draw.integers(1, 100, size=max(2, int(loudness * min(how.max_tokens, 32))))
        case ImagePreprocess():
            return _picture(how, draw.integers(0, 256, size=(how.height, how.width, 3)) * loudness)
        case AudioPreprocess():
            wave = draw.uniform(-1, 1, round(how.sample_rate * how.seconds))
            return np.asarray(wave * loudness * how.scale, np.float32)
        case SignalPreprocess():
            return np.asarray(draw.normal(size=how.points) * loudness, np.float32)


def _picture(how: ImagePreprocess, pixels: NDArray[np.floating[Any]]) -> Prepared:
    if how.dtype == "float32":
        pixels = (pixels * how.scale - np.array(how.mean)) / np.array(how.std)
    return pixels.transpose(2, 0, 1).astype(how.dtype) if how.layout == "NCHW" else pixels.astype(how.dtype)
