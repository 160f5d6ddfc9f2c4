"""Texture from patches: a dictionary of small patches, whitened, taken as it is from generated pictures.

Coates, Ng and Lee, An analysis of single-layer networks in unsupervised feature learning, AISTATS 2011:
with whitening and pooling over quarters of the picture, one layer goes far, and the dictionary may as well
be drawn at random. Nothing is trained by gradient, so this part is ready in seconds.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

ATOMS = 96
SIZE = 6
THRESHOLD = 1.0
CONTRAST = 10 / 255**2
"""Added to a patch's variance: below it, a patch is taken for flat."""
RIDGE = 0.1
FLOOR = 1e-6


class Patches(nn.Module):
    """Pixels [N, 3, 64, 64] in [0, 1] -> how far each atom and its negative is there, [N, 768].

    A patch of 6 x 6 pixels, seen at half the size, is brought to mean 0 and deviation 1 and whitened; its
    products with the atoms, less a threshold, are averaged over the four quarters (which overlap by one).
    Their square root, of unit length, is the Hellinger map of the histogram that they are.
    """

    filters: Tensor
    offsets: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", torch.zeros(ATOMS, 3, SIZE, SIZE))
        self.register_buffer("offsets", torch.zeros(ATOMS))

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2)
        mean = F.avg_pool2d(x.mean(1, keepdim=True), SIZE, 1)
        square = F.avg_pool2d((x * x).mean(1, keepdim=True), SIZE, 1)
        deviation = (F.relu(square - mean * mean) + CONTRAST).sqrt()
        products = F.conv2d(x, self.filters) / deviation - self.offsets[:, None, None]
        active = F.relu(torch.cat([products, -products], 1) - THRESHOLD)
        return hellinger(F.avg_pool2d(active, 14, 13))


def hellinger(maps: Tensor) -> Tensor:
    """Square roots of non-negative maps [N, C, H, W], flattened to unit length: [N, C H W]."""
    return F.normalize((maps.flatten(1) + FLOOR).sqrt())


def fit_patches(pictures: NDArray[np.float32], rng: np.random.Generator) -> Patches:
    """The dictionary from pictures [n, 3, 64, 64] in [0, 1]: some of forty whitened patches of each."""
    samples = _sample(pictures, rng)
    samples -= samples.mean(axis=1, keepdims=True)
    samples /= np.sqrt((samples**2).mean(axis=1, keepdims=True) + CONTRAST)
    centre = samples.mean(axis=0)
    power, axes = np.linalg.eigh(np.cov(samples.T))
    whitening = (axes / np.sqrt(np.maximum(power, 0) + RIDGE)) @ axes.T
    filters = _atoms((samples - centre) @ whitening, rng) @ whitening
    fitted = Patches()
    fitted.offsets.copy_(torch.from_numpy(filters @ centre))
    level = filters - filters.mean(axis=1, keepdims=True)  # so the patch's own mean need not be taken off
    fitted.filters.copy_(torch.from_numpy(level.reshape(ATOMS, 3, SIZE, SIZE)))
    return fitted


def _sample(pictures: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
    """Random patches [40 n, 108] of the pictures at half their size."""
    small = F.avg_pool2d(torch.from_numpy(pictures), 2)
    columns = F.unfold(small, SIZE).permute(0, 2, 1).numpy()
    chosen = rng.integers(0, columns.shape[1], (len(columns), 40))
    picked = columns[np.arange(len(columns))[:, None], chosen]
    return picked.reshape(-1, columns.shape[2]).astype(np.float64)


def _atoms(whitened: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Unit vectors [ATOMS, 108] along random patches, flat ones left out."""
    length = np.linalg.norm(whitened, axis=1)
    textured = np.flatnonzero(length > 0.7 * np.median(length))
    chosen = rng.choice(textured, ATOMS, replace=False)
    return np.asarray(whitened[chosen] / length[chosen, None])
