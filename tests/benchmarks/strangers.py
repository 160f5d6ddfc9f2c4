"""Inputs of classes that the model never saw: does it say so, how often wrongly, and at what cost?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import mean

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from models.novelty import Novelty
from models.runtime import Backbone
from tests.benchmarks import draws
from tests.benchmarks.draws import Table
from tests.benchmarks.examples import CLINC
from tests.benchmarks.fits import Fit, fit
from tests.benchmarks.registry import Setup
from tests.benchmarks.results import Row
from tests.embedded import BUILT

_ASKED = {5: 91.0, 20: 96.0, 100: 98.5}
_BATCH, _WORDS = 32, "what is the best way to get to the airport from here"
_MINILM = BUILT / "text" / "minilm-l6"
Floats = NDArray[np.float32]


def rows(setup: Setup, texts: dict[str, Table] | None) -> Iterator[Row]:
    """Three classes of UCI digits held out, and the out-of-scope texts of CLINC150 where they are given."""
    table = draws.digits()
    for shots, asked in _ASKED.items():
        seeds = setup.amount(20 if shots < 100 else 6, 2)
        yield from _judged(
            f"3 digits held out, {shots} shots", [_digits(table, shots, s) for s in range(seeds)], asked
        )
    if texts is not None:
        yield from _judged("CLINC150 out of scope, 10 shots", [_outside(texts, 10, s) for s in range(2)])


def cost(setup: Setup) -> Iterator[Row]:
    """Bytes and time, for MiniLM's features, beside a run of MiniLM on one thread."""
    backbone = Backbone(_MINILM)
    tap = backbone.card.default_tap
    batch = [backbone.preprocessor.prepare(_WORDS.encode())] * _BATCH
    run = _seconds(lambda: backbone.run(batch, [tap]), setup.amount(20, 3))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(_BATCH, backbone.card.tap(tap).dim)).astype(np.float32)
    for classes, shots in ((10, 10), (150, 10)):
        told = _random(rng, X.shape[1], classes, shots)
        outputs = np.full((_BATCH, classes), 1 / classes, np.float32)
        what = f"unknown, {classes} classes x {shots}"
        yield Row(
            what=f"{what}: memory of a model", value=told.nbytes / 1e3, unit="kB", digits=0, at_most=270
        )
        for models in (1, _BATCH):
            part = slice(0, _BATCH // models)
            ask = partial(told.unknown, X[part], outputs[part])
            spent = models * _seconds(ask, setup.amount(100, 3))
            how = f"of {1000 * run:.0f} ms for a batch of {_BATCH} by MiniLM on one thread"
            share = 100 * spent / run
            yield Row(
                what=f"{what}: time, {models} models in a batch", value=share, unit="%", at_most=5, how=how
            )


def _judged(where: str, found: list[tuple[float, float, float]], asked: float | None = None) -> Iterator[Row]:
    area, alarms, told = (100 * mean(column) for column in zip(*found, strict=True))
    how = f"mean of {len(found)} draws; {told:.0f} % of the strangers are told"
    yield Row(what=f"{where}: AUROC", value=area, unit="%", at_least=asked, how=how)
    yield Row(
        what=f"{where}: false alarms", value=alarms, unit="%", at_most=7, how="on the rest of the known"
    )


def _digits(table: Table, shots: int, seed: int) -> tuple[float, float, float]:
    out = np.random.default_rng(1000 + seed).permutation(10)[:3]
    strange = np.isin(table.y, out)
    known = table.keep(~strange)
    drawn, rest = known.draw(shots, seed)
    made = fit(known.X[drawn], known.named(drawn), "classification", seed=seed)
    return _judge(made, known.X[rest], table.X[strange])


def _judge(made: Fit, known: Floats, strange: Floats) -> tuple[float, float, float]:
    """Area under the ROC, share of the known that is flagged, and of the strange."""
    from sklearn.metrics import roc_auc_score  # slow to import, and only this needs it

    told = made.novelty
    if told is None:
        return float("nan"), float("nan"), float("nan")
    inside, outside = (told.score(X, made.outputs(X)) for X in (known, strange))
    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    area = float(roc_auc_score(truth, np.concatenate([inside, outside])))
    return area, float((inside > told.threshold).mean()), float((outside > told.threshold).mean())


def clinc(setup: Setup) -> dict[str, Table]:
    """MiniLM's features of a part of the training texts, and of the test's known and out-of-scope ones."""
    backbone = Backbone(_MINILM)
    tap = backbone.card.default_tap
    found: dict[str, Table] = {}
    everything = parquet.read_table(setup.file(CLINC)).to_pylist()
    names = {name: i for i, name in enumerate(sorted({row["intent"] for row in everything} - {"oos"}))}
    parts = {
        "train": [r for r in everything if r["split"] == "train" and r["intent"] != "oos"][::4],
        "known": [r for r in everything if r["split"] == "test" and r["intent"] != "oos"][::4],
        "strange": [r for r in everything if r["split"] == "test" and r["intent"] == "oos"],
    }
    for part, kept in parts.items():
        X = backbone.embed([row["text"].encode() for row in kept], [tap])[tap]
        y = np.array([names.get(row["intent"], -1) for row in kept])
        found[part] = Table(X, [row["intent"] for row in kept], y)
    return found


def _outside(texts: dict[str, Table], shots: int, seed: int) -> tuple[float, float, float]:
    train = texts["train"]
    drawn, _ = train.draw(shots, seed)
    made = fit(train.X[drawn], train.named(drawn), "classification", method="logistic", seed=seed)
    return _judge(made, texts["known"].X, texts["strange"].X)


def _random(rng: np.random.Generator, dim: int, classes: int, shots: int) -> Novelty:
    """Of a job on random features: time and size do not depend on what they mean."""
    y = np.repeat(np.arange(classes), shots)
    X = rng.normal(size=(classes, dim))[y] + rng.normal(size=(len(y), dim))
    told = fit(X, [f"class {c}" for c in y], "classification", method="prototypes").novelty
    if told is None:
        raise AssertionError("there are enough examples")
    return told


def _seconds(call: Callable[[], object], times: int) -> float:
    """The least of so many."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return min(spent)
