"""How far a handful of examples go on the features of a backbone: three tasks that it never saw.

`image/omniglot_small1.npz` (Lake et al. 2015: characters of real alphabets, 20 drawers each),
`image/cifar10_subset.parquet` and the digits of UCI inside scikit-learn. A head is Durian's own logistic
regression with its usual penalty; every figure is the mean over draws of the support set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.modalities.image import encode_png
from models.runtime import Features
from training.frame import Frame
from training.methods.base import Problem
from training.methods.logistic import Logistic

DATA = "DURIAN_TEST_DATA"
DRAWS = 10
C = 10.0
OMNIGLOT_SIDE = 105

Extract = Callable[[Sequence[bytes]], Features]
"""Encoded pictures -> features [n, dim], as `Backbone.embed` gives them for one tap."""
Labels = NDArray[np.int64]


Split = tuple[Labels, Labels]
"""One draw: the rows of the support set and the rows that are asked about."""


def evaluate(extract: Extract, data: Path | None = None) -> dict[str, float]:
    """Mean accuracy in per cent: `omniglot_20way_1shot`, `cifar10_10shot`, `digits_5shot`.

    `data` is the folder with the test data, by default the one that the environment names in
    DURIAN_TEST_DATA. Raises FileNotFoundError or KeyError where there is none.
    """
    folder = (data or Path(os.environ[DATA])) / "image"
    return {
        "omniglot_20way_1shot": omniglot(extract, folder / "omniglot_small1.npz"),
        "cifar10_10shot": cifar10(extract, folder / "cifar10_subset.parquet"),
        "digits_5shot": digits(extract),
    }


def omniglot(extract: Extract, file: Path) -> float:
    """Twenty characters at random, one drawing of each by one drawer, the other nineteen drawers ask."""
    with np.load(file, allow_pickle=False) as npz:
        ink = np.unpackbits(npz["images"], axis=1)[:, : OMNIGLOT_SIDE**2]
        names = np.char.add(npz["alphabet"], npz["character"])
    pages = (255 * (1 - ink)).astype(np.uint8).reshape(-1, OMNIGLOT_SIDE, OMNIGLOT_SIDE)
    features = extract([encode_png(page) for page in pages])
    _, labels = np.unique(names, return_inverse=True)
    return mean_accuracy(features, labels, few_shot(labels, classes=20, shots=1))


def cifar10(extract: Extract, file: Path, shots: int = 10) -> float:
    """`shots` training pictures of each class; the test pictures ask."""
    import pyarrow.parquet as pq

    table: dict[str, list[Any]] = pq.read_table(file, columns=["image", "label", "split"]).to_pydict()
    _, labels = np.unique(table["label"], return_inverse=True)
    test = np.array(table["split"]) == "test"
    draws = few_shot(np.where(test, -1, labels), classes=10, shots=shots)
    splits = [(support, np.flatnonzero(test)) for support, _ in draws]
    needed = np.unique(np.concatenate([np.concatenate(split) for split in splits]))
    found = extract([table["image"][row] for row in needed])
    features = np.zeros((len(labels), found.shape[1]), np.float32)
    features[needed] = found
    return mean_accuracy(features, labels, splits)


def digits(extract: Extract, shots: int = 5) -> float:
    """`shots` of each digit; all others ask. Eight by eight pixels, light on dark."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pages = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    features = extract([encode_png(page) for page in pages])
    return mean_accuracy(features, labels, few_shot(labels, classes=10, shots=shots))


def mean_accuracy(features: Features, labels: Labels, splits: Iterable[Split]) -> float:
    """Per cent of the asked rows that a logistic head on the support set gets right, mean over splits."""
    return float(np.mean([_accuracy(features, labels, *split) for split in splits]) * 100)


def _accuracy(features: Features, labels: Labels, support: Labels, query: Labels) -> float:
    classes, y = np.unique(labels[support], return_inverse=True)
    frame = Frame.of(features[support])
    problem = Problem(frame.enter(features[support]), y, "classification", tuple(map(str, classes)))
    head = Logistic().fit(problem, [{"C": C}])[0].head.lifted(frame)
    answers = classes[head.logits(features[query]).argmax(axis=1)]
    return float((answers == labels[query]).mean())


def few_shot(labels: Labels, classes: int, shots: int) -> Iterator[Split]:
    """Draws of `classes` classes, `shots` rows each as support, their other rows asked; -1 is no class."""
    rng = np.random.default_rng(0)
    known = np.unique(labels[labels >= 0])
    for _ in range(DRAWS):
        rows = [rng.permutation(np.flatnonzero(labels == c)) for c in rng.permutation(known)[:classes]]
        yield np.concatenate([r[:shots] for r in rows]), np.concatenate([r[shots:] for r in rows])
