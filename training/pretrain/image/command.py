"""`python -m training.pretrain image --out DIR`: from nothing to a backbone folder."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command takes, and what it runs."""
    command.add_argument("--out", type=Path, required=True, help="folder of the new backbone")
    command.add_argument("--seed", type=int, default=0)
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=8000, help="of training; repeatable")
    length.add_argument("--minutes", type=float, help="of training, however many steps that makes")
    command.add_argument("--cache", type=Path, default=Path("build/pretrain"), help="of the checkpoint")
    command.add_argument("--encoder", type=Path, help="train nothing: finish and export this checkpoint")
    command.add_argument("--threads", type=int, default=1, help="of the CPU")
    command.add_argument("--evaluate", type=Path, metavar="DIR", help="also print the figures on real data")
    command.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Train, finish, export, prove parity; the checkpoint stays in the cache."""
    import torch

    from models.backbone import write_backbone
    from training.pretrain.image.export import export
    from training.pretrain.image.finish import finish
    from training.pretrain.image.train import Recipe, load, train

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    recipe = Recipe(seed=given.seed, steps=given.steps, minutes=given.minutes)
    checkpoint = given.cache / f"image-{given.seed}.pt"
    encoder = load(given.encoder) if given.encoder else train(recipe, checkpoint)
    exported = export(finish(encoder, given.seed))
    write_backbone(given.out, exported.card, exported.files)
    log.info("%s: %d parameters, %s", exported.card.id, exported.card.parameters, exported.card.digest)
    if given.evaluate:
        _evaluate(given.out, given.evaluate)


def _evaluate(folder: Path, data: Path) -> None:
    from models.runtime import Backbone, Features
    from training.pretrain.image.evaluate import evaluate

    backbone = Backbone(folder)
    for tap in [tap.name for tap in backbone.card.taps]:

        def extract(contents: Sequence[bytes], tap: str = tap) -> Features:
            return backbone.embed(contents, [tap])[tap]

        figures = evaluate(extract, data)
        log.info("%s: %s", tap, ", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
