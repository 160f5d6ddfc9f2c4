"""The network: log mel energies, two 2-D stages, two 1-D stages over time, each pooled over time.

A residual network (He et al. 2016) whose later stages treat frequency as channels, as TC-ResNet does
(Choi et al. 2019), for speed on one core. The embedding takes the statistics of a middle stage and of the
last: what is nearest to the task of training carries over least (Yosinski et al. 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.backbones.baselines import FFT, FRAME, HOP, LOG_FLOOR, MELS, RATE, mel_filters

SECONDS = 1.0
WINDOW = round(RATE * SECONDS)
RANGE = 9.0  # nepers of power, 39 dB: what is further below the peak counts as silence
STEM, STAGE1, STAGE2, WIDE = 16, 32, 64, 160
DIM = 2 * (STAGE2 * MELS // 8 + WIDE)


class LogMel(nn.Module):
    """Waves [N, T] -> log mel energies [N, MELS, frames], as the baseline `audio/logmel` computes them."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FRAME), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters()), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        frames = wave.unfold(1, FRAME, HOP) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=FFT))
        power = spectrum.square().sum(-1)
        return torch.log(power @ self.filters.T + LOG_FLOOR).transpose(1, 2)


def planes(mel: Tensor) -> tuple[Tensor, Tensor]:
    """Level-free inputs [N, 2, MELS, frames] and how much each frame sounds [N, 1, frames], 0 to 1.

    The first plane is the energy above a floor `RANGE` below the clip's peak, so that loudness and what is
    quieter than the floor do not matter; the second has each band's mean over the sounding frames taken
    away, and with it the colour of the microphone. In silence, so in padding, both are zero.
    """
    above = functional.relu(mel - mel.amax((1, 2), keepdim=True) + RANGE)
    sounding = (above.amax(1, keepdim=True) * (2 / RANGE)).clamp(max=1)
    mean = (above * sounding).sum(2, keepdim=True) / sounding.sum(2, keepdim=True)
    return torch.stack([above, (above - mean) * sounding], 1) / 3, sounding


class Unit(nn.Module):
    """Convolution and batch normalisation, in one or two dimensions; export folds the two into one."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if len(stride) == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv = conv(inside, outside, kernel, stride, kernel // 2, bias=False)  # type: ignore[arg-type]
        self.norm = norm(outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """relu(unit(relu(unit(x))) + shortcut(x))."""

    def __init__(self, inside: int, outside: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.first = Unit(inside, outside, 3, stride)
        self.second = Unit(outside, outside, 3, (1,) * len(stride))
        same = inside == outside and set(stride) == {1}
        self.shortcut = None if same else Unit(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        past = x if self.shortcut is None else self.shortcut(x)
        return functional.relu(self.second(functional.relu(self.first(x))) + past)


class Network(nn.Module):
    """Waves [N, WINDOW] -> {tap: features [N, dim]}; the last tap is `embedding`.

    `mean` and `deviation` [DIM] are of the embedding over the training clips, which it is standardised by.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.logmel = LogMel()
        self.stem = Unit(2, STEM, 5, (2, 2))
        self.stage1 = Block(STEM, STAGE1, (2, 1))
        self.stage2 = Block(STAGE1, STAGE2, (2, 2))
        self.fold = Unit(STAGE2 * (MELS // 8), WIDE, 1, (1,))
        self.stage3 = nn.Sequential(Block(WIDE, WIDE, (1,)), Block(WIDE, WIDE, (1,)))
        self.stage4 = nn.Sequential(Block(WIDE, WIDE, (1,)), Block(WIDE, WIDE, (1,)))
        self.register_buffer("mean", torch.zeros(DIM))
        self.register_buffer("deviation", torch.ones(DIM))

    def forward(self, wave: Tensor) -> dict[str, Tensor]:
        return self.taps(*planes(self.logmel(wave)))

    def taps(self, inputs: Tensor, sounding: Tensor) -> dict[str, Tensor]:
        """All taps, from what `planes` gives: `STAGE_mean`, and `STAGE` with deviations."""
        half = functional.max_pool1d(sounding, 5, 2, 2)
        quarter = functional.max_pool1d(half, 3, 2, 1)
        stem = functional.relu(self.stem(inputs))
        stage1 = self.stage1(stem)
        stage2 = self.stage2(stage1).flatten(1, 2)
        stage3 = self.stage3(functional.relu(self.fold(stage2)))
        stage4 = self.stage4(stage3)
        pooled = {
            "logmel": statistics(inputs[:, 0], sounding),
            "stem": statistics(stem.flatten(1, 2), half),
            "stage1": statistics(stage1.flatten(1, 2), half),
            "stage2": statistics(stage2, quarter),
            "stage3": statistics(stage3, quarter),
            "stage4": statistics(stage4, quarter),
        }
        means = {f"{name}_mean": both.chunk(2, 1)[0] for name, both in pooled.items()}
        both = torch.cat([pooled["stage2"], pooled["stage4"]], 1)
        top = {"stage4_peak": stage4.amax(2), "embedding": (both - self.mean) / self.deviation}
        return means | pooled | top


def statistics(x: Tensor, weight: Tensor) -> Tensor:
    """Mean, then standard deviation, over time: [N, C, T] weighted by [N, 1, T] -> [N, 2 C]."""
    share = weight / weight.sum(2, keepdim=True)
    mean = (x * share).sum(2, keepdim=True)
    variance = ((x - mean).square() * share).sum(2)
    return torch.cat([mean.squeeze(2), torch.sqrt(variance + 1e-5)], 1)
