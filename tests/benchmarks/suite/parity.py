"""Whether an exported backbone computes what the original computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from models.runtime import Backbone, Features
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from training.backbones.draft import TOLERANCE, Draft

_MOST = 1e6 * TOLERANCE


@dataclass(frozen=True)
class Gap:
    """The largest difference from the original in parts in a million of a tap's largest value."""

    top: float
    worst: float


@benchmark("Export parity of torchvision and hub families")
def parity(setup: Setup) -> Iterator[Row]:
    """The exported graph in ONNX Runtime against the network in torch, which takes each example alone: the
    largest difference of any value, in parts in a million (ppm) of the largest value of its tap. Measured
    is the worst over all taps, each example alone and all in one batch (of mixed lengths where examples
    have lengths). Weights are random, and the hub's networks tiny, since nothing is downloaded here; with
    `--data` there is one network with real ones.
    """
    # Here: torch and transformers take seconds to import, and other benchmarks need neither.
    from tests.benchmarks import families

    for name in families.TORCHVISION if not setup.quick else ("squeezenet1_0",):
        yield _row(f"torchvision/{name}", families.classifier(name))
    if setup.data is not None and (setup.data / families.MOBILENET).is_dir():
        yield _row("torchvision/mobilenet_v2, real weights", families.real_classifier(setup.data))
    for family in families.HUB if not setup.quick else ("Bert", "ViT"):
        with TemporaryDirectory() as folder:
            yield _row(f"hub, {family}", families.encoder(family, Path(folder)))


def _row(what: str, draft: Draft) -> Row:
    from tests.benchmarks import families

    with TemporaryDirectory() as folder:
        backbone = families.written(draft, Path(folder))
        alone, mixed = _alone(backbone, draft), _mixed(backbone, draft)
    how = f"{len(draft.taps)} taps; the top alone {alone.top:.2f}, batched {mixed.top:.2f}"
    worst = max(alone.worst, mixed.worst)
    return Row(what=what, value=worst, unit="ppm", digits=1, at_most=_MOST, how=how)


def _alone(backbone: Backbone, draft: Draft) -> Gap:
    names = [tap.name for tap in draft.taps]
    rows = [backbone.run([example], names) for example in draft.examples]
    return _gap({name: np.concatenate([row[name] for row in rows]) for name in names}, draft)


def _mixed(backbone: Backbone, draft: Draft) -> Gap:
    return _gap(backbone.run(draft.examples, [tap.name for tap in draft.taps]), draft)


def _gap(got: dict[str, Features], draft: Draft) -> Gap:
    gaps = {
        name: 1e6 * float(np.abs(got[name] - rows).max() / np.abs(rows).max())
        for name, rows in draft.expected.items()
    }
    return Gap(gaps[draft.taps[-1].name], max(gaps.values()))
