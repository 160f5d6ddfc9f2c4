"""`auto` on texts: which taps it may choose among, and what that is worth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from app.engine.blas import use_one_thread
from models.backbone import split_tap
from models.base import ModalityName
from models.dataset import Pack
from models.fitspec import BackboneChoice
from models.manifest import InputSpec
from models.runtime import Backbone
from tests.benchmarks.examples import Examples, clinc150
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import spread
from tests.embedded import BUILT
from training.folds import make_folds
from training.methods import METHODS
from training.methods.base import Problem, Setting
from training.select import AUTO, choose
from training.source import Source

TREC = "text/trec6.parquet"
_ID = "text/minilm-l6"
_TEXT: ModalityName = "text"
_PLAIN_C = 10.0


@dataclass(frozen=True)
class Asked:
    """What `auto` must reach at so many shots; how many draws."""

    shots: int
    draws: int
    accuracy: float
    seconds: float | None = None


_ASKED = {
    "CLINC150": (Asked(1, 5, 78.0), Asked(5, 3, 88.0), Asked(10, 3, 91.5, seconds=10.0)),
    "TREC-6": (Asked(5, 10, 60.0), Asked(10, 10, 66.0)),
}


@dataclass(frozen=True)
class Draw:
    """Accuracies in per cent on the test part, seconds to choose and fit on cached features, the tap."""

    auto: float
    plain: float
    seconds: float
    tap: str


@dataclass(frozen=True, eq=False)
class Embedded:
    """Examples with their features at every tap wanted, and those of the class names."""

    examples: Examples
    names: tuple[str, ...]
    features: dict[str, NDArray[np.float32]]
    name_features: dict[str, NDArray[np.float32]]

    @property
    def y(self) -> NDArray[np.int64]:
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number[label] for label in self.examples.labels], np.int64)

    def at(self, tap: str, rows: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
        return np.concatenate([self.features[part][rows] for part in split_tap(tap)], axis=1)

    def names_at(self, tap: str) -> NDArray[np.float32]:
        return np.concatenate([self.name_features[part] for part in split_tap(tap)], axis=1)


@benchmark("The policy auto: texts and the taps of MiniLM", needs_data=True)
def auto_text(setup: Setup) -> Iterator[Row]:
    """k random training examples a class; the test part is predicted. `auto` chooses among the upper half
    of the taps of `text/minilm-l6` and joined ones, with or without class names; beside it `auto` on the
    default tap alone, and plain logistic regression (C = 10) there. Features are cached: the time is that
    of choosing and fitting.
    """
    use_one_thread()  # as in a job's process
    backbone = Backbone(BUILT / _ID)
    for name, (train, test) in {"TREC-6": _trec6(setup), "CLINC150": clinc150(setup)}.items():
        seen = _embed(backbone, test.take(range(0, len(test), setup.amount(1, 9))))
        for asked in _ASKED[name]:
            found = [
                _draw(backbone, train, seen, asked.shots, seed) for seed in range(setup.amount(asked.draws))
            ]
            yield from _rows(name, asked, found)


def _trec6(setup: Setup) -> tuple[Examples, Examples]:
    """Training and test part of the six kinds of questions. Raises Skipped."""
    rows = parquet.read_table(setup.file(TREC)).to_pylist()
    parts = [[row for row in rows if row["split"] == split] for split in ("train", "test")]
    train, test = (Examples(_TEXT, [r["text"] for r in part], [r["label"] for r in part]) for part in parts)
    return train, test


def _embed(backbone: Backbone, examples: Examples) -> Embedded:
    wanted = list(dict.fromkeys(part for tap in backbone.card.trial_taps() for part in split_tap(tap)))
    contents = [text.encode() for text in examples.inputs]
    pack = Pack("classification", InputSpec(modality="text"), tuple(contents), tuple(examples.labels))
    named = pack.label_names()
    said = backbone.embed(named.contents, wanted) if named is not None else {}
    return Embedded(examples, tuple(sorted(set(examples.labels))), backbone.embed(contents, wanted), said)


def _draw(backbone: Backbone, train: Examples, test: Embedded, shots: int, seed: int) -> list[Draw]:
    """With every tap, and with the default one alone."""
    drawn = _embed(backbone, train.take(train.draw(shots, seed)))
    default = backbone.card.default_tap
    plain = _accuracy(_source(drawn, default, seed), "logistic", {"C": _PLAIN_C}, 1.0, test)
    offers = (backbone.card.trial_taps(), (default,))
    return [_chosen(drawn, test, offered, plain, seed) for offered in offers]


def _source(drawn: Embedded, tap: str, seed: int) -> Source:
    choice = BackboneChoice(id=_ID, digest="benchmark", folder="", taps=(tap,))
    problem = Problem(drawn.at(tap), drawn.y, "classification", drawn.names, seed)
    widths = tuple(drawn.features[part].shape[1] for part in split_tap(tap))
    return Source(choice, tap, problem, drawn.names_at(tap), widths=widths)


def _chosen(drawn: Embedded, test: Embedded, offered: tuple[str, ...], plain: float, seed: int) -> Draw:
    sources = [_source(drawn, tap, seed) for tap in offered]
    started = time.perf_counter()
    winner = choose(sources, AUTO, {}, make_folds(sources[0].raw)).winner
    METHODS[winner.method].fit(winner.source.learning, [winner.setting])
    seconds = time.perf_counter() - started
    found = _accuracy(winner.source, winner.method, dict(winner.setting), winner.evidence.factor, test)
    return Draw(found, plain, seconds, winner.source.tap)


def _accuracy(source: Source, method: str, setting: Setting, factor: float, test: Embedded) -> float:
    head = METHODS[method].fit(source.learning, [setting])[0].head.scaled(factor).lifted(source.frame)
    return 100 * float((head.logits(test.at(source.tap)).argmax(axis=1) == test.y).mean())


def _rows(name: str, asked: Asked, found: list[list[Draw]]) -> Iterator[Row]:
    what = f"{name}, {asked.shots} shot{'s' * (asked.shots > 1)}"
    every, default = ([draws[i] for draws in found] for i in (0, 1))
    values = [draw.auto for draw in every]
    chosen = ", ".join(f"{tap} {times}" for tap, times in Counter(draw.tap for draw in every).most_common())
    how = f"{spread(values)}; taps chosen: {chosen}"
    yield Row(what=f"{what}, auto", value=mean(values), unit="%", at_least=asked.accuracy, how=how)
    alone = [draw.auto for draw in default]
    yield Row(what=f"{what}, auto on the default tap", value=mean(alone), unit="%", how=spread(alone))
    plain = [draw.plain for draw in every]
    yield Row(what=f"{what}, plain logistic", value=mean(plain), unit="%", how=spread(plain))
    seconds = median(draw.seconds for draw in every)
    yield Row(what=f"{what}, time", value=seconds, unit="s", digits=2, at_most=asked.seconds, how="median")
