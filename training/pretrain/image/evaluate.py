"""How far a handful of examples go on the features of a backbone: three tasks that it never saw.

`image/omniglot_small1.npz` (Lake et al. 2015: characters of real alphabets, 20 drawers each),
`image/cifar10_subset.parquet` and the digits of UCI inside scikit-learn. A head is Durian's own logistic
regression with its usual penalty; every figure is the mean over draws of the support set.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Split:
    """One draw: rows of the support set and rows to be asked about, with the labels of both."""

    support: Labels
    query: Labels
    support_labels: Labels
    query_labels: Labels


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
    return mean_accuracy(features, _few_shot(labels, classes=20, shots=1))


def cifar10(extract: Extract, file: Path, shots: int = 10) -> float:
    """`shots` training pictures of each class; the test pictures ask."""
    import pyarrow.parquet as pq

    table: dict[str, list[Any]] = pq.read_table(file, columns=["image", "label", "split"]).to_pydict()
    _, labels = np.unique(table["label"], return_inverse=True)
    test = np.array(table["split"]) == "test"
    splits = [
        Split(split.support, np.flatnonzero(test), split.support_labels, labels[test])
        for split in _few_shot(np.where(test, -1, labels), classes=10, shots=shots)
    ]
    needed = np.unique(np.concatenate([np.append(split.support, split.query) for split in splits]))
    found = extract([table["image"][row] for row in needed])
    features = np.zeros((len(labels), found.shape[1]), np.float32)
    features[needed] = found
    return mean_accuracy(features, splits)


def digits(extract: Extract, shots: int = 5) -> float:
    """`shots` of each digit; all others ask. Eight by eight pixels, light on dark."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pages = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    features = extract([encode_png(page) for page in pages])
    return mean_accuracy(features, _few_shot(labels.astype(np.int64), classes=10, shots=shots))


def mean_accuracy(features: Features, splits: Sequence[Split] | Iterator[Split]) -> float:
    """Per cent of the asked rows that a logistic head on the support set gets right, mean over splits."""
    return float(np.mean([_accuracy(features, split) for split in splits]) * 100)


def _accuracy(features: Features, split: Split) -> float:
    support = features[split.support]
    frame = Frame.of(support)
    names = tuple(map(str, np.unique(split.support_labels)))
    problem = Problem(frame.enter(support), split.support_labels, "classification", names)
    head = Logistic().fit(problem, [{"C": C}])[0].head.lifted(frame)
    answers = head.logits(features[split.query]).argmax(axis=1)
    return float((answers == split.query_labels).mean())


def _few_shot(labels: Labels, classes: int, shots: int) -> Iterator[Split]:
    """Draws of `classes` classes with `shots` rows each as support, their other rows asked; -1 is no class."""
    rng = np.random.default_rng(0)
    known = np.unique(labels[labels >= 0])
    for _ in range(DRAWS):
        rows = [rng.permutation(np.flatnonzero(labels == c)) for c in rng.permutation(known)[:classes]]
        support, query = [r[:shots] for r in rows], [r[shots:] for r in rows]
        yield Split(np.concatenate(support), np.concatenate(query), _numbered(support), _numbered(query))


def _numbered(groups: Sequence[Labels]) -> Labels:
    return np.repeat(np.arange(len(groups)), [len(group) for group in groups])
