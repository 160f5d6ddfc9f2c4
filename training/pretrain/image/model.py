"""The whole backbone: the trained encoder, the patches, and how they are put together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.pretrain.image.network import WIDTHS, Encoder
from training.pretrain.image.patches import Patches, hellinger

STAGES = ("stem", "stage_1", "stage_2", "stage_3")
SPREAD = 1e-6
LEAST = 0.3
"""The weight of the code in the embedding of what is no drawing at all; of a drawing it is 1."""
QUARTERS = 0.7
"""The weight of the quarters of stage 2; texture has 1."""


class Durian(nn.Module):
    """Pixels [N, 3, 64, 64] in [0, 1] -> every tap [N, dim] by name.

    `gate` tells drawings from scenes. In the embedding the code counts as far as the picture is a drawing,
    since codes of photographs differ without meaning; texture counts always.
    """

    def __init__(self, encoder: Encoder, patches: Patches) -> None:
        super().__init__()
        self.encoder, self.patches = encoder, patches
        self.gate = nn.Linear(WIDTHS[-1], 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.encoder.maps(x)
        taps = {}
        for name, values in zip(STAGES, maps, strict=True):
            taps[name] = values.mean((2, 3))
            spread = (values - taps[name][..., None, None]).square().mean((2, 3))
            taps[f"{name}_stat"] = torch.cat([taps[name], (spread + SPREAD).sqrt()], 1)
        taps["texture"] = self.patches(x)
        taps["code"] = self.encoder.encode(maps[-1])
        drawing = LEAST + (1 - LEAST) * torch.sigmoid(self.gate(taps["stage_3"]))
        quarters = hellinger(F.avg_pool2d(maps[2], 4))
        taps["embedding"] = torch.cat([taps["code"] * drawing, taps["texture"], quarters * QUARTERS], 1)
        return taps


def fit_gate(model: Durian, drawings: Tensor, scenes: Tensor, steps: int = 300) -> float:
    """Logistic regression of drawing (1) against scene (0) on stage 3; views [n, 3, 64, 64].

    Returns the share of the views that it then tells apart.
    """
    with torch.no_grad():
        views = torch.cat([drawings, scenes])
        pooled = torch.cat([model.encoder.maps(part)[-1].mean((2, 3)) for part in views.split(128)])
    wanted = torch.cat([torch.ones(len(drawings)), torch.zeros(len(scenes))])
    spread, mean = pooled.std(0) + 1e-3, pooled.mean(0)
    nn.init.zeros_(model.gate.weight)
    optimiser = torch.optim.Adam(model.gate.parameters(), lr=0.05, weight_decay=1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        logits = model.gate((pooled - mean) / spread)[:, 0]
        F.binary_cross_entropy_with_logits(logits, wanted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        correct = ((model.gate((pooled - mean) / spread)[:, 0] > 0) == (wanted > 0)).float().mean()
        model.gate.weight /= spread
        model.gate.bias -= model.gate.weight @ mean
    return float(correct)
