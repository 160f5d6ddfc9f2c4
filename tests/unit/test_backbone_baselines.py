"""The baselines against their formulas, written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from models.backbone import GRAPH
from models.runtime import open_session
from training.backbones.baselines import logmel, mel_filters, pixels, raw
from training.backbones.source import Exported

Array = NDArray[Any]


def run(exported: Exported, tap: str, batch: Array) -> Array:
    (features,) = open_session(exported.files[GRAPH]).run([tap], {exported.card.input: batch})
    return np.asarray(features)


def test_pixels_are_scaled_and_laid_flat() -> None:
    batch = np.random.default_rng(0).integers(0, 256, size=(3, 16, 16, 3)).astype(np.uint8)
    np.testing.assert_allclose(run(pixels(), "pixels", batch), batch.reshape(3, 768) / 255 - 0.5, atol=1e-7)


def test_raw_is_the_signal_itself() -> None:
    batch = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32)
    np.testing.assert_array_equal(run(raw(), "raw", batch), batch)


@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (1e-30, 0), (1e-9, 5e-9), (1e30, 3e30), (1, 100)])
def test_snv_takes_offset_and_gain_away(gain: float, offset: float) -> None:
    shape = np.random.default_rng(0).normal(size=(3, 256))
    expected = (shape - shape.mean(1, keepdims=True)) / shape.std(1, keepdims=True)
    got = run(raw(), "snv", (shape * gain + offset).astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1.0, -1234.567, 1e-20, 1e20])
def test_snv_of_a_constant_signal_is_zero(level: float) -> None:
    got = run(raw(), "snv", np.full((1, 256), level, np.float32))
    np.testing.assert_array_equal(got, np.zeros((1, 256)))


def standardised(x: Array) -> Array:
    return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)


@pytest.mark.parametrize(("gain", "offset", "tilt"), [(1, 0, 0), (1e-9, 5e-9, 0), (1, 100, 0), (1, 0, 0.3)])
def test_derivative_takes_offset_gain_and_slope_away(gain: float, offset: float, tilt: float) -> None:
    at = np.arange(256)
    shape = np.sin(at * np.array([[0.1], [0.3]])) + at * np.array([[0.0], [0.01]])
    slopes = savgol_filter(shape, 15, 2, deriv=1, axis=1)[:, 7:-7]
    got = run(raw(), "derivative", (gain * (shape + tilt * at) + offset).astype(np.float32))
    np.testing.assert_allclose(got, standardised(slopes), atol=2e-3)


@pytest.mark.parametrize("slope", [0.0, 0.1, -1e6])
def test_derivative_of_a_straight_line_is_all_but_zero(slope: float) -> None:
    line = (3 + slope * np.arange(256, dtype=np.float32))[None]
    assert np.abs(run(raw(), "derivative", line)).max() < 0.02


def test_logmel_is_windowed_fourier_power_through_the_mel_filters() -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, size=(2, 16_000)) * np.array([[1.0], [0.01]])
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400, axis=1)[:, ::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    log = np.log(power @ mel_filters().T + 1e-6)
    expected = np.concatenate([log.mean(1), log.std(1)], axis=1)
    got = run(logmel(), "logmel", wave.astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_a_tone_lights_the_filter_around_its_frequency() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    loudest = int(run(logmel(), "logmel", tone[None].astype(np.float32))[0, :40].argmax())
    peak = mel_filters()[loudest].argmax() * 16_000 / 512
    assert abs(peak - 1000) < 100


def test_silence_is_finite() -> None:
    got = run(logmel(), "logmel", np.zeros((1, 16_000), np.float32))
    np.testing.assert_allclose(got[0, :40], np.log(1e-6), atol=1e-3)
    np.testing.assert_allclose(got[0, 40:], 0, atol=1e-3)


def test_mel_filters_overlap_without_gaps() -> None:
    filters = mel_filters()
    first, last = filters[0].argmax() + 1, filters[-1].argmax()
    assert filters.shape == (40, 257)
    assert filters.any(axis=1).all()
    np.testing.assert_allclose(filters.sum(0)[first:last], 1, atol=1e-5)
