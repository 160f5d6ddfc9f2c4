"""The network of signal/durian-small: a residual 1-D convolutional trunk over a standardised signal.

Standardising (SNV, Barnes et al. 1989) and two smoothed derivatives happen inside; what standardising
takes away, the size and level of the signal, ends the embedding as its amplitude. Before it come the
`code`, from which pretraining told everything, and the third stage in eight parts of the axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SMOOTH = 4.0  # points, the deviation of the Gaussian under the derivatives
REACH = 12
TINY = 1e-5
DIM = 128
HIDDEN = 256
PROFILE = 16  # channels kept at each of the last stage's positions
AMPLITUDE = 4
DERIVATIVE_WEIGHT = 0.5  # in the tap `derivatives`: ridge treats all its columns alike


@dataclass(frozen=True)
class Stage:
    """Width, kernel and stride of one stage: a convolution that may shorten, then a residual block."""

    width: int
    kernel: int
    stride: int


STEM = Stage(16, 9, 2)
STAGES = (Stage(16, 5, 1), Stage(32, 5, 2), Stage(64, 5, 2), Stage(128, 3, 2))
POSITIONS = 16
PLACES = 8  # parts of the axis that the taps `..._places` keep apart
PLACES_WEIGHT = 2.0  # in `embedding`, which balances where with what


def derivative_kernels() -> NDArray[np.float32]:
    """First and second derivative of a Gaussian, [2, 1, 2 REACH + 1], each of sum 0 and norm 1."""
    t = np.arange(-REACH, REACH + 1) / SMOOTH
    bell = np.exp(-0.5 * t**2)
    kernels = np.stack([t * bell, (1 - t**2) * bell])
    kernels -= kernels.mean(axis=1, keepdims=True)
    kernels /= np.linalg.norm(kernels, axis=1, keepdims=True)
    return kernels[:, None].astype(np.float32)


class Front(nn.Module):
    """Signal [N, 256] -> its standard form and derivatives [N, 3, 256], and its amplitude [N, AMPLITUDE]."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.from_numpy(derivative_kernels()), persistent=False)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        mean = signal.mean(dim=1, keepdim=True)
        centred = signal - mean
        deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
        largest = signal.abs().amax(dim=1, keepdim=True)
        snv = centred / torch.maximum(deviation, largest * 1e-6).clamp_min(1e-30)
        padded = functional.pad(snv[:, None], (REACH, REACH), mode="replicate")
        slopes = functional.conv1d(padded, self.kernels)
        rough = slopes.square().mean(dim=2).sqrt()
        channels = torch.cat([snv[:, None], slopes / rough[:, :, None].clamp_min(1e-3)], dim=1)
        return channels, torch.cat([size(deviation), level(mean, deviation), roughness(rough)], dim=1)


def size(deviation: Tensor) -> Tensor:
    """log10 of the deviation over 4, bounded to [-3, 3]."""
    return (deviation.clamp_min(1e-12).log10() / 4).clamp(-3, 3)


def level(mean: Tensor, deviation: Tensor) -> Tensor:
    """How many deviations the mean is from 0, signed, softly bounded by 1 in size."""
    ratio = mean / deviation.clamp_min(1e-12)
    return ratio / (ratio.abs() + 3)


def roughness(rough: Tensor) -> Tensor:
    """log10 of the size of the derivatives of the standardised signal, bounded to [-3, 3]."""
    return rough.clamp_min(1e-3).log10()


class Normed(nn.Module):
    """A convolution or linear layer without bias, and the batch norm after it."""

    def __init__(self, layer: nn.Conv1d | nn.Linear, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.layer(x)))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one layer that does what both do in evaluation, float64."""
        variance, mean = cast(Tensor, self.norm.running_var), cast(Tensor, self.norm.running_mean)
        gain, shift = torch.rsqrt(variance.double() + self.norm.eps), torch.zeros_like(mean).double()
        if self.norm.affine:
            gain, shift = gain * self.norm.weight, self.norm.bias.double()
        shape = [-1] + [1] * (self.layer.weight.ndim - 1)
        return self.layer.weight * gain.reshape(shape), shift - mean * gain


def convolution(width: int, out: int, kernel: int, stride: int) -> Normed:
    """A convolution that keeps the length, but for its stride, with its norm."""
    conv = nn.Conv1d(width, out, kernel, stride, padding=kernel // 2, bias=False)
    return Normed(conv, nn.BatchNorm1d(out))


class Block(nn.Module):
    """conv, norm, ReLU (the way in, perhaps shorter), then a residual pair of convolutions."""

    def __init__(self, width: int, stage: Stage) -> None:
        super().__init__()
        self.enter = convolution(width, stage.width, stage.kernel, stage.stride)
        self.first = convolution(stage.width, stage.width, stage.kernel, 1)
        self.second = convolution(stage.width, stage.width, stage.kernel, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).relu()
        added: Tensor = x + self.second(self.first(x).relu())
        return added.relu()


def weighed(channels: Tensor) -> Tensor:
    """The standard form and, at half its weight, the derivatives: [N, 3, 256] -> [N, 768]."""
    return torch.cat([channels[:, 0], DERIVATIVE_WEIGHT * channels[:, 1:].flatten(1)], dim=1)


def pooled(name: str, x: Tensor) -> dict[str, Tensor]:
    """The taps of [N, C, L]: mean [N, C], mean in PLACES parts [N, C PLACES], statistics [N, 3 C]."""
    parts = x.reshape(x.shape[0], x.shape[1], PLACES, -1).mean(dim=3).flatten(1)
    return {f"{name}_mean": x.mean(dim=2), f"{name}_places": parts, name: statistics(x)}


def statistics(x: Tensor) -> Tensor:
    """Mean, deviation and maximum over positions: [N, C, L] -> [N, 3 C]."""
    mean = x.mean(dim=2)
    deviation = ((x - mean[:, :, None]).square().mean(dim=2) + TINY).sqrt()
    return torch.cat([mean, deviation, x.amax(dim=2)], dim=1)


class SignalNetwork(nn.Module):
    """Signal [N, 256] -> its taps, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.front = Front()
        self.stem = convolution(3, STEM.width, STEM.kernel, STEM.stride)
        widths = [STEM.width, *(stage.width for stage in STAGES)]
        self.stages = nn.ModuleList(Block(width, stage) for width, stage in zip(widths, STAGES, strict=False))
        self.profile = nn.Conv1d(widths[-1], PROFILE, 1)
        inputs = 3 * (widths[-1] + widths[-2]) + PROFILE * POSITIONS
        self.hidden = Normed(nn.Linear(inputs, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN))
        self.embedding = Normed(nn.Linear(HIDDEN, DIM, bias=False), nn.BatchNorm1d(DIM, affine=False))

    def forward(self, signal: Tensor) -> dict[str, Tensor]:
        channels, amplitude = self.front(signal)
        x = self.stem(channels).relu()
        taps = {"snv": channels[:, 0], "derivatives": weighed(channels)} | pooled("stem", x)
        for name, stage in self.named_stages():
            x = stage(x)
            taps |= pooled(name, x)
        taps["profile"] = self.profile(x).flatten(1)
        seen = torch.cat([taps["stage4"], taps["stage3"], taps["profile"]], dim=1)
        taps["code"] = self.embedding(self.hidden(seen).relu())
        where = PLACES_WEIGHT * taps["stage3_places"]
        return taps | {"embedding": torch.cat([taps["code"], where, amplitude], dim=1)}

    def named_stages(self) -> list[tuple[str, Block]]:
        """The stages with the names of their taps, from the bottom up."""
        return [(f"stage{number}", cast(Block, stage)) for number, stage in enumerate(self.stages, start=1)]
