"""What happens to a sound between mouth and microphone: speed, place in the window, noise, rooms, telephones.

Everything is drawn anew each time and computed for a batch at once, on whatever device the batch is.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.backbones.baselines import MELS, RATE
from training.pretrain.audio.clips import Clips

WINDOW = round(0.8 * RATE)  # shorter than the served one, for speed: what follows a clip is silence
_FFT = 20_480  # the window and most of the longest room, without wrapping round
_ROOMS = 200
_NOISES = 24
_NOISE_LENGTH = 20 * RATE


class Disturb:
    """Clips in, disturbed windows out: `(ids [B]) -> [B, WINDOW]` float32."""

    def __init__(self, clips: Clips, seed: int, device: torch.device) -> None:
        self.device = device
        self.random = torch.Generator(device).manual_seed(seed)
        self._samples = torch.from_numpy(clips.samples).to(device)
        self._starts = torch.from_numpy(clips.starts).to(device)
        self._lengths = torch.from_numpy(clips.lengths).to(device)
        rng = np.random.default_rng([seed, 3])
        self._rooms = torch.fft.rfft(torch.from_numpy(rooms(rng)).to(device), n=_FFT)
        self._noises = torch.from_numpy(noises(rng)).to(device)
        self._octaves = torch.log2(torch.fft.rfftfreq(_FFT, 1 / RATE, device=device).clamp(min=20) / 1000)

    def draw(self, count: int) -> Tensor:
        """Which clips come next: ids [count]."""
        return torch.randint(len(self._starts), (count,), generator=self.random, device=self.device)

    def __call__(self, ids: Tensor) -> Tensor:
        wave, inside = self._place(ids.to(self.device))
        spectrum = torch.fft.rfft(self._add_noise(wave, inside), n=_FFT) * self._filters(len(ids))
        heard = torch.fft.irfft(spectrum, n=_FFT)[:, :WINDOW]
        heard = torch.where(self._chance(0.6, len(ids)), heard * inside, heard)  # cut where the word ends
        peak = heard.abs().amax(1, keepdim=True).clamp(min=1e-6)
        return heard / peak * torch.exp(self._uniform(-3.5, 0, len(ids)))

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers [B, ..., 1], ready to meet a row of samples."""
        drawn = torch.rand(*shape, 1, generator=self.random, device=self.device)
        return low + (high - low) * drawn

    def _chance(self, probability: float, count: int) -> Tensor:
        return self._uniform(0, 1, count) < probability

    def _place(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Each clip at its own speed and place, ends shaved; and where in the window it is."""
        count = len(ids)
        speed = torch.exp(self._uniform(math.log(0.85), math.log(1.25), count))
        length = self._lengths[ids][:, None]
        early, late = self._uniform(0, 0.06, count) * length, self._uniform(0.92, 1, count) * length
        spare = (WINDOW - (late - early) / speed).clamp(min=0)
        # Most words begin at once, as trimmed recordings do.
        shift = torch.where(self._chance(0.6, count), 0.05, 1.0) * self._uniform(0, 1, count) * spare
        at = early + (torch.arange(WINDOW, device=self.device) - shift) * speed
        inside = ((at >= early) & (at < late.clamp(max=length - 1))).float()
        whole = at.clamp(min=0).minimum(length - 2).floor()
        index = self._starts[ids][:, None] + whole.long()
        below, above = self._samples[index].float(), self._samples[index + 1].float()
        return (below + (above - below) * (at - whole).clamp(0, 1)) * inside / 32768, inside

    def _add_noise(self, wave: Tensor, inside: Tensor) -> Tensor:
        count = len(wave)
        which = torch.randint(_NOISES, (count, 1), generator=self.random, device=self.device)
        start = (self._uniform(0, 1, count) * (_NOISE_LENGTH - WINDOW)).long()
        noise = self._noises[which, start + torch.arange(WINDOW, device=self.device)]
        noise = torch.where(self._chance(0.7, count), noise * inside, noise)
        power = wave.square().sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
        level = power.sqrt() * 10 ** (-self._uniform(3, 45, count) / 20)
        return wave + noise * level * self._chance(0.8, count)

    def _filters(self, count: int) -> Tensor:
        """Frequency responses [B, bins]: a room, a coloured microphone, half of them a telephone line."""
        colour = self._uniform(-3, 3, count) * self._octaves
        for _ in range(3):
            swing = self._uniform(0.5, 3, count) * self._octaves + self._uniform(0, 2 * math.pi, count)
            colour = colour + self._uniform(0, 4, count) * torch.sin(swing)
        gain = 10 ** (colour.clamp(-25, 25) / 20)
        hertz = torch.fft.rfftfreq(_FFT, 1 / RATE, device=self.device)
        band = torch.sigmoid((self._uniform(3300, 4000, count) - hertz) / 60)
        band = torch.where(self._chance(0.5, count), band, 1.0)
        floor = torch.sigmoid((hertz - self._uniform(0, 300, count)) / 40)
        room = self._rooms[torch.randint(_ROOMS, (count,), generator=self.random, device=self.device)]
        room = torch.where(self._chance(0.5, count), room, torch.ones_like(room))
        return room * gain * band * floor

    def warp(self, mel: Tensor) -> Tensor:
        """Log mel energies [B, MELS, T] with bands moved, as by another vocal tract, and time bent."""
        count, frames = len(mel), mel.shape[2]
        band = torch.arange(MELS, device=self.device) - MELS / 2
        mel = _pick(
            mel, MELS / 2 + band * self._uniform(0.92, 1.08, count) + self._uniform(-1.5, 1.5, count), 1
        )
        time = torch.arange(frames, device=self.device)
        cycles = time * self._uniform(0.06, 0.2, count) + self._uniform(0, 2 * math.pi, count)
        return _pick(mel, time + self._uniform(0, 3, count) * torch.sin(cycles), 2)

    def mask(self, planes: Tensor) -> Tensor:
        """SpecAugment (Park et al. 2019): up to two stripes of bands and one of time become zero."""
        for axis, widest in ((2, 6), (2, 6), (3, 10)):
            size = planes.shape[axis]
            width = self._uniform(0, widest, len(planes)) * self._chance(0.5, len(planes))
            start = self._uniform(0, 1, len(planes)) * (size - width)
            place = torch.arange(size, device=self.device)
            kept = ((place < start) | (place >= start + width)).float()
            planes = planes * kept.reshape(len(planes), 1, *((size, 1) if axis == 2 else (1, size)))
        return planes


def _pick(values: Tensor, place: Tensor, axis: int) -> Tensor:
    """Interpolate [B, M, T] along `axis` at fractional places [B, size]."""
    place = place.clamp(0, values.shape[axis] - 1.001)
    index = place.long()
    rest = (place - index).unsqueeze(3 - axis)
    index = index.unsqueeze(3 - axis).expand_as(values)
    below, above = values.gather(axis, index), values.gather(axis, index + 1)
    return below + (above - below) * rest


def rooms(rng: np.random.Generator) -> NDArray[np.float32]:
    """Impulse responses [rooms, samples]: the direct sound, then noise, 60 dB down after 0.08 to 0.5 s."""
    t = np.arange(round(0.45 * RATE)) / RATE
    fading = 10 ** (-3 * t / rng.uniform(0.08, 0.5, (_ROOMS, 1)))
    tail = rng.standard_normal((_ROOMS, len(t))) * fading * (t > rng.uniform(0.001, 0.02, (_ROOMS, 1)))
    energy = np.sqrt((tail**2).sum(1, keepdims=True))
    response = tail / energy * 10 ** (-rng.uniform(0, 18, (_ROOMS, 1)) / 20)
    response[:, 0] = 1
    return np.asarray(response, np.float32)


def noises(rng: np.random.Generator) -> NDArray[np.float32]:
    """Noises [noises, samples] of unit power, from white to brown, some of them humming."""
    frequency = np.maximum(np.fft.rfftfreq(_NOISE_LENGTH, 1 / RATE), 20)
    made = []
    for slope in np.linspace(0, 1.2, _NOISES):
        coloured = np.fft.irfft(np.fft.rfft(rng.standard_normal(_NOISE_LENGTH)) / frequency**slope)
        hum = np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * np.arange(_NOISE_LENGTH) / RATE)
        mixed = coloured / coloured.std() + hum * rng.choice([0, 0, 1])
        made.append(mixed / mixed.std())
    return np.array(made, np.float32)
