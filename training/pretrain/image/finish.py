"""After the training: what is fitted in closed form or in seconds, from data of the same generators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from training.pretrain.image.model import Durian, fit_gate
from training.pretrain.image.network import SIDE, Encoder
from training.pretrain.image.patches import Patches, fit_patches
from training.pretrain.image.train import Data, Recipe
from training.pretrain.image.views import Dice, coarsen, glyph_views, scene_views, to_tensor

EXAMPLES = 600


def finish(encoder: Encoder, seed: int, examples: int | None = None) -> Durian:
    """The backbone from a trained encoder: patches of `examples` scenes (600), and the gate."""
    examples = examples or EXAMPLES
    data = Data(replace(Recipe(), seed=seed + 1, pool=examples, glyph_pairs=examples, scene_pairs=examples))
    dice = Dice(torch.Generator().manual_seed(seed + 1), torch.device("cpu"))
    model = Durian(encoder.eval().cpu(), _patches(data)).eval()
    drawings = glyph_views(to_tensor(data.glyphs()), dice)
    # Drawings may be as coarse as the digits of old scanners.
    fit_gate(
        model,
        coarsen(drawings, dice, probability=0.6, smallest=7),
        scene_views(to_tensor(data.scenes()), dice),
    )
    return model


def _patches(data: Data) -> Patches:
    pictures = to_tensor(data.pool[:, 0].transpose(0, 3, 1, 2))
    resized = F.interpolate(pictures, size=(SIDE, SIDE), mode="area")
    return fit_patches(resized.numpy(), np.random.default_rng(data.recipe.seed))
