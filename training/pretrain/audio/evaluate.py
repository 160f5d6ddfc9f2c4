"""The figures of an audio backbone on spoken digits, never used in training (Free Spoken Digit Dataset)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.runtime import Features
from training.frame import Frame
from training.methods import METHODS, Problem

Extract = Callable[[Sequence[bytes]], Features]
Rows = NDArray[np.intp]
SHOTS, DRAWS = 5, 10


def evaluate(extract: Extract, data_folder: Path) -> dict[str, float]:
    """Accuracies of logistic regression on the features of `{digit}_{speaker}_{number}.wav` files.

    `shots`: 5 examples a digit, drawn from all speakers, the rest is the test. `A_to_B_shots` and
    `A_to_B`: trained on 5 (or all) examples a digit of one speaker, tested on the other. Those with draws
    are means of 10; `_shots_spread` is the standard deviation over them.
    """
    files = sorted(data_folder.glob("*_*_*.wav"))
    parts = [file.stem.split("_") for file in files]
    y = np.array([int(digit) for digit, _, _ in parts])
    speakers = np.array([speaker for _, speaker, _ in parts])
    X = extract([file.read_bytes() for file in files]).astype(np.float64)
    everyone = np.arange(len(y))
    figures = _mean("shots", [_drawn(X, y, everyone, None, draw) for draw in range(DRAWS)])
    for name in np.unique(speakers):
        mine, others = np.flatnonzero(speakers == name), np.flatnonzero(speakers != name)
        pair = f"{name}_to_others"
        figures[f"{pair}_all"] = _score(X, y, mine, others)
        figures |= _mean(f"{pair}_shots", [_drawn(X, y, mine, others, draw) for draw in range(DRAWS)])
        figures |= _mean(f"{name}_shots", [_drawn(X, y, mine, None, draw) for draw in range(DRAWS)])
    return figures


def _mean(name: str, scores: list[float]) -> dict[str, float]:
    return {name: float(np.mean(scores)), f"{name}_spread": float(np.std(scores))}


def _drawn(X: NDArray[Any], y: NDArray[Any], pool: Rows, test: Rows | None, draw: int) -> float:
    """Train on `SHOTS` of each class in `pool`; without `test`, test on the rest of the pool."""
    rng = np.random.default_rng(draw)
    train = np.concatenate([rng.choice(pool[y[pool] == c], SHOTS, replace=False) for c in np.unique(y)])
    return _score(X, y, train, np.setdiff1d(pool, train) if test is None else test)


def _score(X: NDArray[Any], y: NDArray[Any], train: Rows, test: Rows) -> float:
    """Accuracy on `test` of the head that `logistic` fits on `train` at its default penalty."""
    frame = Frame.of(X[train])
    problem = Problem(frame.enter(X[train]), y[train], "classification", tuple(map(str, np.unique(y))))
    method = METHODS["logistic"]
    fitted = method.fit(problem, method.info.hyperparameters().grid(problem)[:1])[0]
    return float((fitted.head.logits(frame.enter(X[test])).argmax(1) == y[test]).mean())
