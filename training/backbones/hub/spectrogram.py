"""Audio spectrogram transformers (Gong et al. 2021, arXiv:2104.01778), from the waveform.

Their features are Kaldi's: frames of 400 samples each 160, less their mean, pre-emphasised, windowed,
Fourier-transformed over 512 points, 128 log mel energies. All before the power is linear in the samples,
so that one convolution does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import AudioPreprocess
from training.backbones.draft import Draft, levels
from training.backbones.hub.audio import SECONDS, examples_of, from_waveform, read_rate, tap_names
from training.backbones.hub.torch_side import Forward, log_energies, mean_and_stat, run_taps

FAMILIES = frozenset({"audio-spectrogram-transformer"})
FRAME, HOP, FFT = 400, 160, 512
EMPHASIS = 0.97


@dataclass(frozen=True)
class Frontend:
    """What the feature extractor's file says: mel filters [257, bins], and how the result is scaled."""

    filters: NDArray[np.float64]
    length: int  # frames, zeros after the last one that the clip fills
    shift: float
    scale: float


def draft(folder: Path, model: Any) -> Draft:
    """The backbone of a loaded spectrogram transformer. Raises InvalidInput (code `processor`)."""
    rate = read_rate(folder)
    extractor = _extractor(folder)
    front = _frontend(extractor, rate)
    full = ((front.length - 1) * HOP + FRAME) / rate
    how = AudioPreprocess(sample_rate=rate, seconds=min(SECONDS, full))
    depth = model.config.num_hidden_layers
    features = [(extractor(wave, sampling_rate=rate)["input_values"][0],) for wave in examples_of(how)]
    expected, forward = run_taps(model, partial(pooled, steps=levels(depth)), tap_names(depth), features)
    return from_waveform(model, partial(from_wave, forward=forward, front=front), how, expected)


def pooled(model: Any, features: Any, *, steps: Sequence[int]) -> list[Any]:
    """Features [N, frames, bins] -> both forms of the layers over patches, and the two class tokens' mean."""
    answer = model(input_values=features, output_hidden_states=True)
    states = [*answer.hidden_states[: max(steps)], answer.last_hidden_state]
    return [*(tap for i in steps for tap in mean_and_stat(states[i], (1,))), answer.pooler_output]


def from_wave(model: Any, wave: Any, *, forward: Forward, front: Frontend) -> Sequence[Any]:
    """`forward`, which takes features, of a waveform [N, samples]."""
    energies = log_energies(wave, fourier_kernel(), front.filters, HOP, front.length)
    return forward(model, (energies - front.shift) / front.scale)


def fourier_kernel() -> NDArray[np.float64]:
    """[514, 400]: 257 real and 257 imaginary parts of a frame's spectrum, as sums over its samples."""
    frame = np.eye(FRAME) - 1 / FRAME  # each column: one sample of the frame, less the frame's mean
    earlier = np.vstack([frame[:1], frame[:-1]])  # the first sample stands before itself
    shaped = (frame - EMPHASIS * earlier) * np.hanning(FRAME)[:, None]
    spectrum = np.fft.rfft(shaped, FFT, axis=0)
    return np.concatenate([spectrum.real, spectrum.imag])


def _extractor(folder: Path) -> Any:
    from transformers import ASTFeatureExtractor

    return ASTFeatureExtractor.from_pretrained(folder, local_files_only=True)


def _frontend(extractor: Any, rate: int) -> Frontend:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=FFT // 2 + 1,
        num_mel_filters=extractor.num_mel_bins,
        min_frequency=20,
        max_frequency=rate // 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    if not extractor.do_normalize:
        return Frontend(filters, extractor.max_length, 0.0, 1.0)
    return Frontend(filters, extractor.max_length, extractor.mean, 2 * extractor.std)
