"""Varied copies: of what kind, how strong, and that they come from nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pytest

from models.base import ModalityName
from training.deep.augment import PICTURES, SIGNALS, SOUNDS, copies_of, picture, signal, sound, vary
from training.deep.textures import on_texture, texture

Level = Literal["light", "strong", "randomise"]
KINDS: tuple[ModalityName, ...] = ("image", "audio", "signal")


def inputs(modality: ModalityName, n: int = 6) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    if modality == "image":
        return [rng.integers(60, 190, (16, 12, 3)).astype(np.uint8) for _ in range(n)]
    size = 400 if modality == "audio" else 64
    return [np.cumsum(rng.normal(size=size)).astype(np.float32) / 10 for _ in range(n)]


@pytest.mark.parametrize("modality", KINDS)
def test_copies_are_seeded_and_alike_in_kind(modality: ModalityName) -> None:
    prepared, fold = inputs(modality), np.zeros(6, np.int64)
    for level in get_args(Level):
        first, again, other = (
            vary(modality, prepared, level, fold, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        for one, same, different, before in zip(first, again, other, prepared, strict=True):
            np.testing.assert_array_equal(one, same)
            assert (one.shape, one.dtype) == (before.shape, before.dtype)
            assert not np.array_equal(one, before)
            assert not np.array_equal(one, different)


@pytest.mark.parametrize("modality", KINDS)
def test_strong_changes_more_than_light(modality: ModalityName) -> None:
    prepared, fold = inputs(modality, 20), np.zeros(20, np.int64)

    def change(level: Level) -> float:
        varied = vary(modality, prepared, level, fold, np.random.default_rng(0))
        pairs = zip(varied, prepared, strict=True)
        return float(np.mean([np.abs(a.astype(float) - b.astype(float)).mean() for a, b in pairs]))

    assert change("randomise") > change("strong") > 1.5 * change("light") > 0


def test_what_is_mixed_in_is_of_the_same_fold() -> None:
    """Each fold holds one loud clip: silence next to it hears it, silence of another fold does not."""
    clips = [np.zeros(200, np.float32) for _ in range(4)]
    clips[1] = np.ones(200, np.float32)
    quiet = 1e-3 * np.sin(np.arange(200))
    clips = [clip + quiet.astype(np.float32) for clip in clips]
    for seed in range(20):
        varied = vary("audio", clips, "strong", np.array([0, 0, 1, 1]), np.random.default_rng(seed))
        assert max(np.abs(varied[2]).max(), np.abs(varied[3]).max()) < 0.02


def test_a_signals_change_is_in_its_own_units() -> None:
    x = inputs("signal")[0].astype(np.float64)
    for level, how in SIGNALS.items():
        near, far = (signal(scale * x + 7, how, np.random.default_rng(0)) for scale in (1.0, 1000.0))
        np.testing.assert_allclose((far - 7) / 1000, near - 7, atol=1e-9, err_msg=level)


def test_channels_first_is_channels_last_turned() -> None:
    x = inputs("image")[0]
    for how in PICTURES.values():
        last = picture(x, how, np.random.default_rng(3))
        first = picture(x.transpose(2, 0, 1), how, np.random.default_rng(3))
        np.testing.assert_array_equal(first.transpose(1, 2, 0), last)


def test_normalised_pictures_keep_their_scale() -> None:
    x = (inputs("image")[0] / 127.5 - 1).astype(np.float32)
    for how in PICTURES.values():
        assert np.abs(picture(x, how, np.random.default_rng(0))).max() < 4


def test_textures_are_of_many_colours_and_coarsenesses() -> None:
    rng = np.random.default_rng(0)
    found = np.stack([texture(24, 16, rng) for _ in range(60)])
    assert found.shape == (60, 24, 16, 3)
    assert 0 <= found.min() < found.max() <= 1
    assert found.mean(axis=(1, 2, 3)).std() > 0.1
    steps = np.abs(np.diff(found, axis=1)).mean(axis=(1, 2, 3)) / found.std(axis=(1, 2)).mean(axis=1)
    assert np.quantile(steps, 0.1) < 0.5 * np.quantile(steps, 0.9)


def test_a_picture_on_a_texture_is_still_there() -> None:
    """Where ink is and where it is not, the ground differs, whichever way they were put together."""
    x = np.zeros((20, 20, 3))
    x[:, 10:] = 1
    for seed in range(30):
        found = on_texture(x, np.random.default_rng(seed))
        assert 0 <= found.min() <= found.max() <= 1
        apart = np.abs(found[:, 10:].mean(axis=(0, 1)) - found[:, :10].mean(axis=(0, 1))).max()
        assert apart > 0.02, seed


def test_randomised_pictures_turn_negative_half_the_time() -> None:
    x = np.zeros((8, 8, 3), np.uint8)
    x[2:6, 2:6] = 255
    how = replace(PICTURES["randomise"], ground=0.0, move=0.0, light=0.0, noise=0.0)
    dark = [picture(x, how, np.random.default_rng(seed))[3, 3].mean() < 128 for seed in range(60)]
    assert 20 <= sum(dark) <= 40


def test_silence_stays_silence() -> None:
    silent = np.zeros(100, np.float32)
    assert not sound(silent, silent, SOUNDS["strong"], np.random.default_rng(0)).any()


def test_how_many_copies() -> None:
    assert copies_of(50, "none", "image") == 0
    assert copies_of(50, "strong", "text") == 0
    assert copies_of(50, "light", "image") == 4
    assert copies_of(1500, "light", "signal") == 1
    assert copies_of(100_000, "light", "audio") == 1
