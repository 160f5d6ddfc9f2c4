"""The whole backbone: the trained encoder, patches and gradients, and how they are put together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from training.pretrain.image.gradients import gradients
from training.pretrain.image.network import WIDTHS, Encoder
from training.pretrain.image.patches import Patches, hellinger

STAGES = ("stem", "stage_1", "stage_2", "stage_3")
SPREAD = 1e-6
LEAST = 0.2
"""The weight of the code in the embedding of what is no drawing at all; of a drawing it is 1."""
QUARTERS, GRADIENTS = 0.7, 0.8
"""The weights of the quarters of stage 2 and of gradients; texture has 1."""
COLOURFUL = 0.02
"""Mean distance between the largest and the smallest colour value from which a picture is in colour."""


class Durian(nn.Module):
    """Pixels [N, 3, 64, 64] in [0, 1] -> every tap [N, dim] by name.

    `gate` tells drawings from scenes. In the embedding the code counts as far as the picture is a drawing,
    since codes of photographs differ without meaning. A coloured scene means the same seen in a mirror, so
    there texture and gradients are averaged with those of the mirror image; in writing they are not.
    """

    def __init__(self, encoder: Encoder, patches: Patches) -> None:
        super().__init__()
        self.encoder, self.patches = encoder, patches
        self.gate = nn.Linear(WIDTHS[-1], 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.encoder.maps(x)
        taps = {"texture": self.patches(x), "gradients": gradients(x)}
        for name, values in zip(STAGES, maps, strict=True):
            taps[name] = values.mean((2, 3))
            spread = (values - taps[name][..., None, None]).square().mean((2, 3))
            taps[f"{name}_stat"] = torch.cat([taps[name], (spread + SPREAD).sqrt()], 1)
        taps["code"] = self.encoder.encode(maps[-1])
        taps["embedding"] = self._embedding(x, maps, taps)
        return taps

    def _embedding(self, x: Tensor, maps: list[Tensor], taps: dict[str, Tensor]) -> Tensor:
        drawing = torch.sigmoid(self.gate(taps["stage_3"]))
        colours = (x.amax(1) - x.amin(1)).mean((1, 2))[:, None]
        mirrored = 0.5 * (1 - drawing) * (colours / COLOURFUL).clamp(max=1)
        mirror = x.flip(3)
        parts = [
            taps["code"] * (LEAST + (1 - LEAST) * drawing),
            torch.lerp(taps["texture"], self.patches(mirror), mirrored),
            torch.lerp(taps["gradients"], gradients(mirror), mirrored) * GRADIENTS,
            hellinger(F.avg_pool2d(maps[2], 4)) * QUARTERS,
        ]
        return torch.cat(parts, 1)


def fit_gate(model: Durian, drawings: Tensor, scenes: Tensor, steps: int = 300) -> float:
    """Logistic regression of drawing (1) against scene (0) on stage 3; views [n, 3, 64, 64].

    Returns the share of the views that it then tells apart.
    """
    pooled = _pooled(model.encoder, torch.cat([drawings, scenes]))
    wanted = torch.cat([torch.ones(len(drawings)), torch.zeros(len(scenes))])
    spread, mean = pooled.std(0) + 1e-3, pooled.mean(0)
    _descend(model.gate, (pooled - mean) / spread, wanted, steps)
    with torch.no_grad():
        model.gate.weight.div_(spread)
        model.gate.bias.sub_(model.gate.weight @ mean)
        return float(((model.gate(pooled)[:, 0] > 0) == (wanted > 0)).float().mean())


def _pooled(encoder: Encoder, views: Tensor) -> Tensor:
    """Stage 3 of each view, mean over space."""
    with torch.no_grad():
        return torch.cat([encoder.maps(part)[-1].mean((2, 3)) for part in torch.split(views, 128)])


def _descend(gate: nn.Linear, features: Tensor, wanted: Tensor, steps: int) -> None:
    nn.init.zeros_(gate.weight)
    nn.init.zeros_(gate.bias)
    optimiser = torch.optim.Adam(gate.parameters(), lr=0.05, weight_decay=1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(gate(features)[:, 0], wanted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
