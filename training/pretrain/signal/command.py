"""`python -m training.pretrain signal --out DIR`: from nothing to a backbone folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command takes, and what it runs."""
    command.add_argument("--out", type=Path, required=True, help="folder of the new backbone")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--steps", type=int, default=3200, help="of training; gives equal weights each time")
    command.add_argument("--minutes", type=float, help="end the training after so long, if that comes first")
    command.add_argument("--cache", type=Path, default=Path("build/pretrain"), help="of the checkpoint")
    command.add_argument("--threads", type=int, default=1, help="of the CPU")
    command.add_argument("--evaluate", type=Path, metavar="DIR", help="also print the figures on real data")
    command.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Train, export, prove parity; the weights of the last minute are kept in the cache meanwhile."""
    import torch

    from models.backbone import write_backbone
    from training.pretrain.signal import export, train

    torch.set_num_threads(given.threads)
    plan = train.Plan(given.steps, given.minutes, given.seed)
    given.cache.mkdir(parents=True, exist_ok=True)
    trained = train.train(plan, given.cache / f"signal-{given.seed}.pt", _say)
    exported = export.export(trained.network)
    write_backbone(given.out, exported.card, exported.files)
    _say(f"{exported.card.id}: {trained.steps} steps in {trained.seconds:.0f} s, {exported.card.digest}")
    if given.evaluate:
        _evaluate(given.out, given.evaluate)


def _evaluate(folder: Path, data: Path) -> None:
    from models.runtime import Backbone
    from training.pretrain.signal.evaluate import Matrix, evaluate, resampled

    backbone = Backbone(folder)
    for tap in [tap.name for tap in backbone.card.taps]:

        def extract(signals: Matrix, tap: str = tap) -> Matrix:
            return backbone.run(list(resampled(signals)), [tap])[tap]

        figures = evaluate(extract, data)
        _say(f"{tap}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
