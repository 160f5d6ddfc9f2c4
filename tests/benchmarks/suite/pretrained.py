"""What the shipped backbones are worth on data they never saw, beside the declared baselines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.runtime import Backbone, Features
from models.shelf import SHIPPED
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.embedded import BUILT
from training.pretrain.audio import evaluate as audio
from training.pretrain.image import evaluate as image
from training.pretrain.signal import evaluate as signal

_RAW = BUILT / "image" / "pixels"


@benchmark("Shipped backbones: image, audio, signal", needs_data=True)
def pretrained(setup: Setup) -> Iterator[Row]:
    """Logistic heads (regression: ridge by leave-one-out) on the default tap, means of 10 draws. The
    backbones were trained on generated data alone; their cards say what was chosen while looking at these
    figures.
    """
    if setup.data is None or setup.quick:
        raise Skipped("it needs the whole test data, and has no quick form")
    yield from _images(setup.data)
    yield from _sounds(setup.data / "audio" / "fsdd")
    yield from _signals(setup.data / "spectra")


def _images(data: Path) -> Iterator[Row]:
    backbone = Backbone(SHIPPED / "image" / "durian-small")
    ours = image.evaluate(partial(_embed, backbone), data)
    raw = image.evaluate(partial(_embed, Backbone(_RAW)), data)
    yield Row(
        what="Omniglot, 20-way one-shot", value=ours["omniglot_20way_1shot"], unit="%", digits=1, at_least=80
    )
    cifar, pixels = ours["cifar10_10shot"], raw["cifar10_10shot"]
    yield Row(
        what="CIFAR-10 subset, 10 shots",
        value=cifar,
        unit="%",
        digits=1,
        at_least=pixels + 10,
        how=f"pixels {pixels:.1f} %",
    )
    yield Row(what="UCI digits, 5 shots", value=ours["digits_5shot"], unit="%", digits=1, at_least=92)
    yield Row(
        what="image forward, batch 8, one core, an image",
        value=_forward(backbone),
        unit="ms",
        digits=2,
        at_most=4,
    )


def _sounds(data: Path) -> Iterator[Row]:
    found = audio.evaluate(partial(_embed, Backbone(SHIPPED / "audio" / "durian-small")), data)
    yield Row(
        what="spoken digits, 5 shots, same speakers",
        value=100 * found["shots"],
        unit="%",
        digits=1,
        at_least=85,
    )
    across = 100 * found["jackson_to_others_shots"]
    yield Row(
        what="spoken digits, 5 shots of jackson, tested on nicolas",
        value=across,
        unit="%",
        digits=1,
        at_least=65,
    )


def _signals(data: Path) -> Iterator[Row]:
    backbone = Backbone(SHIPPED / "signal" / "durian-small")
    ours, raw = signal.evaluate(partial(_embed_signals, backbone), data), signal.baselines(data)
    for name in ("GunPoint", "ItalyPowerDemand"):
        beaten = f"raw signal {100 * raw[name]:.1f} %"
        yield Row(
            what=f"{name}, 5 shots",
            value=100 * ours[name],
            unit="%",
            digits=1,
            at_least=100 * raw[name],
            how=beaten,
        )
    pls = min(raw["tecator_pls_10"], raw["tecator_pls_cv"])
    how = f"PLS on the same 20: 10 components {raw['tecator_pls_10']:.2f}, cross-validated {pls:.2f}"
    yield Row(
        what="Tecator fat, 20 examples, RMSEP",
        value=ours["tecator_20"],
        unit="% fat",
        digits=2,
        at_most=pls,
        how=how,
    )
    yield Row(
        what="sigma² of unseen EXAFS, noise 1 %, R², 300 examples",
        value=ours["sigma2_300"],
        unit="",
        digits=3,
        at_least=0.95,
    )
    yield Row(what="the same with 20 examples", value=ours["sigma2_20"], unit="", digits=3)


def _embed(backbone: Backbone, contents: Sequence[bytes]) -> Features:
    return _default(backbone)(contents)


def _embed_signals(backbone: Backbone, x: NDArray[Any]) -> Features:
    return _default(backbone)([np.asarray(row, "<f4").tobytes() for row in x])


def _default(backbone: Backbone) -> Callable[[Sequence[bytes]], Features]:
    tap = backbone.card.default_tap
    return lambda contents: backbone.embed(contents, [tap])[tap]


def _forward(backbone: Backbone, runs: int = 50) -> float:
    """Median wall milliseconds an image of batches of eight on one thread."""
    batch = list(np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8))
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        backbone.run(batch, [backbone.card.default_tap])
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times)) / len(batch)
