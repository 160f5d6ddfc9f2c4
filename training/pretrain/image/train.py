"""The training loop: glyphs and scenes in one batch, one contrastive loss each."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.pretrain.image.glyphs import draw, random_glyphs
from training.pretrain.image.network import Encoder, Projector, contrast
from training.pretrain.image.scenes import random_pair
from training.pretrain.image.views import Dice, glyph_views, scene_views, to_tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run: it ends after `minutes` where they are given, else after `steps`.

    `pool` scenes are kept and reused, `fresh` of them replaced a step.
    """

    seed: int = 0
    steps: int = 2000
    minutes: float | None = None
    glyph_pairs: int = 64
    scene_pairs: int = 40
    pool: int = 1024
    fresh: int = 8
    rate: float = 2e-3
    decay: float = 0.02
    warmup: int = 30
    glyph_temperature: float = 0.1
    scene_temperature: float = 0.2


class Data:
    """An endless supply of batches, made on the processor from one seed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rng = np.random.default_rng(recipe.seed)
        self.pool = np.stack([random_pair(self.rng) for _ in range(recipe.pool)])
        self.oldest = 0

    def glyphs(self) -> NDArray[np.uint8]:
        """[2, P, 64, 64]: two drawings of each of P new classes."""
        classes = random_glyphs(self.recipe.glyph_pairs, self.rng)
        return np.stack([[draw(glyph, self.rng) for glyph in classes] for _ in range(2)])

    def scenes(self) -> NDArray[np.uint8]:
        """[2, P, 3, S, S] from the pool, of which the oldest are replaced first."""
        recipe = self.recipe
        for _ in range(recipe.fresh):
            self.pool[self.oldest] = random_pair(self.rng)
            self.oldest = (self.oldest + 1) % recipe.pool
        chosen = self.rng.choice(recipe.pool, recipe.scene_pairs, replace=False)
        return self.pool[chosen].transpose(1, 0, 4, 2, 3)


class Trainer:
    """Holds what a step changes."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.data = Data(recipe)
        self.dice = Dice(torch.Generator().manual_seed(recipe.seed), device)
        self.encoder: Encoder = Encoder().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.projector = Projector().to(device)
        parameters = [*self.encoder.parameters(), *self.projector.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
        self.steps = 0
        self.started = time.monotonic()

    @property
    def progress(self) -> float:
        """How much of the run is over, 0 to 1."""
        if self.recipe.minutes is None:
            return self.steps / self.recipe.steps
        return min(1.0, (time.monotonic() - self.started) / (60 * self.recipe.minutes))

    def step(self) -> dict[str, float]:
        """One update. Returns the two losses."""
        views = torch.cat([self._glyphs(), self._scenes()]).contiguous(memory_format=torch.channels_last)
        pooled, code = self.encoder(views)
        cut = 2 * self.recipe.glyph_pairs
        first, second = code[:cut].chunk(2)
        glyphs = contrast(first, second, self.recipe.glyph_temperature)
        first, second = self.projector(pooled[cut:]).chunk(2)
        scenes = contrast(first, second, self.recipe.scene_temperature)
        self.optimiser.param_groups[0]["lr"] = self._rate()
        self.optimiser.zero_grad()
        (glyphs + scenes).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.steps += 1
        return {"glyphs": float(glyphs.detach()), "scenes": float(scenes.detach())}

    def _glyphs(self) -> Tensor:
        return glyph_views(to_tensor(self.data.glyphs()).to(self.device), self.dice)

    def _scenes(self) -> Tensor:
        return scene_views(to_tensor(self.data.scenes()).to(self.device), self.dice)

    def _rate(self) -> float:
        """Linear warm-up, then half a cosine down to nothing."""
        warm = min(1.0, (self.steps + 1) / self.recipe.warmup)
        return float(self.recipe.rate * warm * 0.5 * (1 + np.cos(np.pi * self.progress)))


def train(recipe: Recipe, checkpoint: Path, every: int = 100) -> Encoder:
    """Run the recipe, on a GPU where there is one; the encoder is saved each `every` steps and at the end."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, device)
    while trainer.progress < 1:
        losses = trainer.step()
        if trainer.steps % every == 0:
            log.info("step %d, %.0f %%, %s", trainer.steps, 100 * trainer.progress, losses)
            _save(trainer.encoder, checkpoint)
    _save(trainer.encoder, checkpoint)
    log.info("%d steps", trainer.steps)
    trainer.encoder.eval().cpu()
    return trainer.encoder


def load(checkpoint: Path) -> Encoder:
    """The encoder that a run saved."""
    encoder = Encoder()
    encoder.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    encoder.eval()
    return encoder


def _save(encoder: Encoder, checkpoint: Path) -> None:
    """Replaces the checkpoint whole, so that a cut-off leaves the last one."""
    unfinished = checkpoint.with_suffix(".part")
    torch.save(encoder.state_dict(), unfinished)
    unfinished.replace(checkpoint)
