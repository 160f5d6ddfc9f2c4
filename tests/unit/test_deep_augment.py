"""Varied copies: of what kind, how strong, and that they come from nowhere else."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pytest

from models.base import ModalityName
from training.deep.augment import PICTURES, SIGNALS, SOUNDS, copies_of, picture, signal, sound, vary

Level = Literal["light", "strong"]
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

    assert change("strong") > 1.5 * change("light") > 0


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


def test_silence_stays_silence() -> None:
    silent = np.zeros(100, np.float32)
    assert not sound(silent, silent, SOUNDS["strong"], np.random.default_rng(0)).any()


def test_how_many_copies() -> None:
    assert copies_of(50, "none", "image") == 0
    assert copies_of(50, "strong", "text") == 0
    assert copies_of(50, "light", "image") == 4
    assert copies_of(1500, "light", "signal") == 1
    assert copies_of(100_000, "light", "audio") == 1
