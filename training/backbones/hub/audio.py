"""Speech encoders from the waveform: wav2vec 2.0 (arXiv:2006.11477) and HuBERT (arXiv:2106.07447)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import GRAPH, AudioPreprocess
from models.runtime import Features
from training.backbones.adapt import EMBEDDING
from training.backbones.draft import Draft, levels, list_taps
from training.backbones.forms import both_forms
from training.backbones.hub.files import read_json, refused
from training.backbones.hub.torch_side import (
    Forward,
    count_parameters,
    join_weight_norm,
    mean_and_stat,
    run_taps,
    to_onnx,
)

FAMILIES = frozenset({"wav2vec2", "hubert"})
PROCESSOR = "preprocessor_config.json"
SECONDS = 3.0
LOUDNESS = (1.0, 0.1, 0.01)
FLOOR = 1e-7  # the feature extractor's, added to the variance


def draft(folder: Path, model: Any) -> Draft:
    """The backbone of a loaded speech encoder. Raises InvalidInput (code `processor`)."""
    how = AudioPreprocess(sample_rate=read_rate(folder), seconds=SECONDS)
    depth = model.config.num_hidden_layers
    normalise = bool(read_json(folder / PROCESSOR).get("do_normalize", True))
    forward: Forward = partial(pooled, steps=levels(depth), normalise=normalise)
    waves = [(wave,) for wave in examples_of(how)]
    expected, forward = run_taps(model, forward, tap_names(depth), waves)
    join_weight_norm(model)
    return from_waveform(model, forward, how, expected)


def tap_names(depth: int) -> list[str]:
    """The taps of an encoder of so many layers."""
    return [*both_forms("layer", levels(depth)), EMBEDDING]


def from_waveform(model: Any, forward: Forward, how: AudioPreprocess, expected: dict[str, Features]) -> Draft:
    """The draft of `forward`, which takes the waveform [N, samples] and gives the taps of `expected`:
    what the original makes of each of `examples_of(how)`."""
    depth = model.config.num_hidden_layers
    examples = examples_of(how)
    graph = to_onnx(model, forward, {"audio": np.stack(examples[:2])}, list(expected), {0: "N"})
    return Draft(
        files={GRAPH: graph},
        preprocess=how,
        input="audio",
        taps=list_taps(expected, {f"layer_{i}": i / depth for i in levels(depth)}),
        parameters=count_parameters(graph),
        examples=examples,
        expected=expected,
    )


def read_rate(folder: Path) -> int:
    """Samples a second. Raises InvalidInput (code `processor`)."""
    rate = read_json(folder / PROCESSOR).get("sampling_rate")
    if isinstance(rate, int) and 1_000 <= rate <= 192_000:
        return rate
    raise refused(f"The folder has no {PROCESSOR} with a sampling_rate.", "processor")


def pooled(model: Any, wave: Any, *, steps: Sequence[int], normalise: bool) -> list[Any]:
    """Waveform [N, samples] -> both forms of the layers over time, and the last one's mean [N, H]."""
    if normalise:
        centred = wave - wave.mean(1, keepdim=True)
        wave = centred / ((centred * centred).mean(1, keepdim=True) + FLOOR).sqrt()
    answer = model(wave, output_hidden_states=True)
    states = [*answer.hidden_states[: max(steps)], answer.last_hidden_state]
    return [*(tap for i in steps for tap in mean_and_stat(states[i], (1,))), states[-1].mean(1)]


def examples_of(how: AudioPreprocess) -> list[NDArray[np.float32]]:
    """Noise of different loudness, with silence at both ends of some."""
    draw = np.random.default_rng(0)
    waves = draw.uniform(-1, 1, (len(LOUDNESS), round(how.sample_rate * how.seconds)))
    waves[1:, : waves.shape[1] // 4] = 0
    return [np.asarray(wave * loud, np.float32) for wave, loud in zip(waves, LOUDNESS, strict=True)]
