"""`python -m training.pretrain audio --out DIR`: from nothing to a backbone folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SOURCE = (
    "Trained by Durian (training/pretrain/audio) on speech synthesised with espeak-ng and on sounds made by "
    "formula; the ten digit words were left out."
)


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command takes, and what it runs."""
    command.add_argument("--out", type=Path, required=True, help="folder of the new backbone")
    command.add_argument("--seed", type=int, default=0)
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=16_000, help="of training; repeatable")
    length.add_argument("--minutes", type=float, help="of training, however many steps that makes")
    command.add_argument("--cache", type=Path, default=Path("build/pretrain"), help="where clips are kept")
    command.add_argument("--threads", type=int, default=1, help="of the CPU")
    command.add_argument("--evaluate", type=Path, metavar="DIR", help="spoken digits to print figures on")
    command.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Synthesise (or read the cache), train, export, prove parity."""
    import torch

    from training.pretrain.audio import clips, export, train

    torch.set_num_threads(given.threads)
    corpus = clips.load(clips.Corpus(), given.seed, given.cache)
    plan = train.Plan(given.steps, given.minutes)
    checkpoint = given.cache / f"audio-{given.seed}.pt"
    network = train.train(corpus, plan, given.seed, checkpoint=checkpoint, say=_say)
    card = export.export(network, given.out, SOURCE)
    _say(f"{card.id}: {card.parameters} parameters, digest {card.digest}")
    if given.evaluate:
        _evaluate(given.out, given.evaluate)


def _evaluate(folder: Path, data: Path) -> None:
    from models.runtime import Backbone
    from training.pretrain.audio.evaluate import evaluate

    backbone = Backbone(folder)
    tap = backbone.card.default_tap
    for name, value in evaluate(lambda contents: backbone.embed(contents, [tap])[tap], data).items():
        _say(f"{name}: {value:.3f}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
