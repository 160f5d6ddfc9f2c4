"""Same or different, and features without the noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.modalities.image import encode_png
from models.runtime import Backbone
from models.shelf import SHIPPED
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.signal_jobs import Fitted, SignalJobs
from training.frame import Frame
from training.methods import METHODS
from training.methods.base import Problem
from training.pretrain.image.evaluate import OMNIGLOT_SIDE, few_shot

Array = NDArray[np.float64]
_OMNIGLOT = "image/omniglot_small1.npz"
_NOISE = 0.1
_KOCH = "Koch et al. 2015 train on 30 alphabets of drawings: 92.0 %"


@benchmark("Siamese: Omniglot, 20 ways", needs_data=True)
def siamese(setup: Setup) -> Iterator[Row]:
    """Twenty characters at random, k drawings of each as references, all other drawings ask; the features
    are those of `image/durian-small`, which never saw a drawing of Omniglot. Means of 10 draws at one shot,
    of 5 at more. Plain cosine is `shrinkage` 1; the default of 0.5 was chosen on some of these very draws and
    on the UCI digits, so the gain at two and five shots is not a fresh one.
    """
    X, labels = _drawings(setup.file(_OMNIGLOT))
    for shots, draws in ((1, 10), (2, 5), (5, 5)):
        splits = [
            split for split, _ in zip(few_shot(labels, 20, shots), range(setup.amount(draws)), strict=False)
        ]
        found, plain, means = (
            float(np.mean([_accuracy(X, labels, *split, name, given) for split in splits]))
            for name, given in (("siamese", {}), ("siamese", {"shrinkage": 1}), ("prototypes", {}))
        )
        yield Row(
            what=f"`siamese`, {shots} shot{'s' * (shots > 1)}",
            value=100 * found,
            unit="%",
            at_least=100 * means - 1,
            how=f"prototypes {100 * means:.1f} %, plain cosine {100 * plain:.1f} %"
            + (f"; {_KOCH}" if shots == 1 else ""),
        )


@benchmark("Siamese noise removal: simulated peaks")
def denoising(setup: Setup) -> Iterator[Row]:
    """Whole jobs on `signal/durian-small`: peaks of random place, width, height and slope of the ground, 60
    clean ones to learn from, 300 to test on, under no noise, noise 0.1 (a tenth of a peak) and twice as much.
    Before: the reference head on the clean features. What the method chooses among was settled on peaks of
    the same kind from other seeds.
    """
    with TemporaryDirectory() as folder:
        jobs = SignalJobs(Path(folder), [SHIPPED / "signal" / "durian-small"])
        wide = jobs.store("classification", *_widths(60, 11, numbers=False))
        width = jobs.store("regression", *_widths(60, 11, numbers=True))
        plain, after = (
            jobs.run("classification", wide, **given) for given in (_REFERENCE["classification"], _DENOISE)
        )
        for times in (0, 1, 2):
            before, now = (_share_right(fitted, times) for fitted in (plain, after))
            yield Row(
                what=f"wide or narrow, noise {times}x",
                value=100 * now,
                unit="%",
                at_least=100 * before - 2,
                how=f"before {100 * before:.1f} %",
            )
        plain, after = (
            jobs.run("regression", width, **given) for given in (_REFERENCE["regression"], _DENOISE)
        )
        for times in (1, 2):
            before, now = (_error(fitted, times) for fitted in (plain, after))
            yield Row(
                what=f"width, noise {times}x, RMSE",
                value=now,
                unit="% of the axis",
                digits=2,
                at_most=before,
                how=f"before {before:.2f}",
            )


_REFERENCE: dict[str, dict[str, Any]] = {
    "classification": {"method": "logistic", "hyperparameters": {"C": 10.0}},
    "regression": {"method": "ridge"},
}
_DENOISE: dict[str, Any] = {"method": "siamese_denoise", "hyperparameters": {"noise": _NOISE}}


def _drawings(file: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(file, allow_pickle=False) as npz:
        ink = np.unpackbits(npz["images"], axis=1)[:, : OMNIGLOT_SIDE**2]
        names = np.char.add(npz["alphabet"], npz["character"])
    pages = (255 * (1 - ink)).astype(np.uint8).reshape(-1, OMNIGLOT_SIDE, OMNIGLOT_SIDE)
    backbone = Backbone(SHIPPED / "image" / "durian-small")
    tap = backbone.card.default_tap
    return backbone.embed([encode_png(page) for page in pages], [tap])[tap], np.unique(
        names, return_inverse=True
    )[1]


def _accuracy(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    support: NDArray[np.int64],
    query: NDArray[np.int64],
    name: str,
    given: dict[str, Any],
) -> float:
    classes, y = np.unique(labels[support], return_inverse=True)
    frame = Frame.of(X[support])
    problem = Problem(frame.enter(X[support]), y, "classification", tuple(map(str, classes)))
    setting = METHODS[name].info.hyperparameters.model_validate(given).grid(problem)[0]
    head = METHODS[name].fit(problem, [setting])[0].head.lifted(frame)
    return float((classes[head.logits(X[query]).argmax(axis=1)] == labels[query]).mean())


def _widths(n: int, seed: int, *, numbers: bool) -> tuple[Array, list[Any]]:
    """Peaks [n, 128] on a sloping ground beside a fixed one; their widths in per cent of the axis."""
    rng, t = np.random.default_rng(seed), np.linspace(0, 1, 128)
    place, width, height = rng.uniform(0.3, 0.7, n), rng.uniform(0.02, 0.08, n), rng.uniform(0.5, 1.5, n)
    x = height[:, None] * np.exp(-(((t - place[:, None]) / width[:, None]) ** 2) / 2)
    x += 0.3 * rng.normal(size=(n, 1)) * t + 0.5 * np.exp(-(((t - 0.2) / 0.05) ** 2))
    return x, [100 * float(w) if numbers else "wide" if w > 0.05 else "narrow" for w in width]


def _tested(fitted: Fitted, times: int, *, numbers: bool) -> tuple[Array, list[Any]]:
    """Answers to 300 new signals under so many times the noise, and the truth."""
    x, truth = _widths(300, 12, numbers=numbers)
    noise = np.random.default_rng(13).normal(size=x.shape)
    return fitted.answers(x + times * _NOISE * noise), truth


def _share_right(fitted: Fitted, times: int) -> float:
    answers, truth = _tested(fitted, times, numbers=False)
    names = [fitted.manifest.labels[c] for c in answers.argmax(axis=1)]
    return float(np.mean([a == b for a, b in zip(names, truth, strict=True)]))


def _error(fitted: Fitted, times: int) -> float:
    answers, truth = _tested(fitted, times, numbers=True)
    return float(np.sqrt(((answers[:, 0] - np.array(truth)) ** 2).mean()))
