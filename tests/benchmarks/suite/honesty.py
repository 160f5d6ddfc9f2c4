"""Does the model know what it does not know? Checked on what it never saw, over many small draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from models.base import TaskName
from tests.benchmarks import draws, strangers
from tests.benchmarks.draws import Rows, Table
from tests.benchmarks.fits import Fit, fit
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from training import metrics

_CLASSED: tuple[tuple[str, Callable[[], Table], tuple[int, ...]], ...] = (
    ("UCI digits", draws.digits, (3, 5, 10, 20)),
    ("wine", draws.wine, (3, 5, 20)),
    ("breast cancer", draws.cancer, (3, 5, 20)),
)
_ERROR_ASKED = {5: 7.0, 20: 3.0}


@benchmark("Honesty: intervals, probabilities, sets, strangers")
def honesty(setup: Setup) -> Iterator[Row]:
    """Each draw is a job on a few examples of a set of scikit-learn (features as they are; no backbone
    runs); what its report claims is held against the rest of the set. An interval of 95 % must cover the
    truth in 90 to 99 % of draws: below, it boasts; above, it says nothing.
    """
    yield from _accuracy(setup)
    yield from _others(setup)
    yield from _auto(setup)
    texts = None if setup.data is None or setup.quick else strangers.clinc(setup)
    if texts is not None:
        yield from _texts(texts["train"].joined(texts["known"]))
    yield from strangers.rows(setup, texts)
    yield from strangers.cost(setup)


def _accuracy(setup: Setup) -> Iterator[Row]:
    """Intervals of accuracy and prediction sets, of the plain method, whose fits are fast."""
    covered: list[bool] = []
    held: list[float] = []
    for name, load, shots in _CLASSED:
        table, found = load(), []
        for k in shots:
            for seed in range(setup.amount(50, 2)):
                made, rest = _fit(table, k, seed, "classification", "logistic")
                found.append(bool(made.covers(_right(made, table, rest))))
                held += _held(made, table, rest)
        covered += found
        how = f"{len(found)} draws of {', '.join(map(str, shots))} a class, logistic"
        yield Row(
            what=f"accuracy, interval covers, {name}", value=_percent(found), unit="%", at_least=90, how=how
        )
    how = "the same draws of all three"
    yield Row(what="accuracy, interval covers", value=_percent(covered), unit="%", at_most=99, how=how)
    yield Row(
        what="prediction sets of 90 %, hold the truth", value=_percent(held), unit="%", at_least=90, how=how
    )


def _others(setup: Setup) -> Iterator[Row]:
    """Intervals of the other tasks' metrics, and of single predicted numbers."""
    table, covered, single = draws.diabetes(), list[bool](), dict[int, list[float]]()
    for n in (10, 20, 50, 100):
        for seed in range(setup.amount(50, 2)):
            made, rest = _fit(table, n, seed, "regression", "ridge")
            off = np.abs(made.outputs(table.X[rest]) - made.truth(table.named(rest)))
            covered.append(bool(made.covers(float(np.sqrt((off**2).mean())))))
            single.setdefault(n, []).append(float((off <= (made.manifest.interval or 0)).mean()))
    how = f"{len(covered)} draws of 10, 20, 50, 100 of diabetes, ridge; at most 99 %"
    yield Row(what="RMSE, interval covers", value=_percent(covered), unit="%", at_least=90, how=how)
    for n in (50, 100):
        what = f"95 % interval of a number covers, diabetes, {n} examples"
        yield Row(
            what=what,
            value=_percent(single[n]),
            unit="%",
            at_least=86,
            how="share of the rest, mean of draws",
        )
    table, covered = draws.traits_of_digits(), []
    for n in (40, 80, 160, 320):
        for seed in range(setup.amount(40, 2)):
            made, rest = _fit(table, n, seed, "multilabel", "logistic")
            found = metrics.multilabel_metrics(made.truth(table.named(rest)), made.outputs(table.X[rest]))
            covered += [] if (verdict := made.covers(found["micro_f1"])) is None else [verdict]
    how = f"{len(covered)} draws of 40 to 320 digits with four traits, logistic; at most 99 %"
    yield Row(what="micro-F1, interval covers", value=_percent(covered), unit="%", at_least=90, how=how)


def _auto(setup: Setup) -> Iterator[Row]:
    """What users get: intervals after a choice among methods, and how true its probabilities are."""
    table, covered = draws.digits(), list[bool]()
    for k, asked in _ERROR_ASKED.items():
        errors, held, sizes = list[float](), list[float](), list[float]()
        for seed in range(setup.amount(20, 2)):
            made, rest = _fit(table, k, seed, "classification", "auto")
            covered.append(bool(made.covers(_right(made, table, rest))))
            errors.append(_calibration(made.outputs(table.X[rest]), made.truth(table.named(rest))))
            held += _held(made, table, rest)
            sizes.append(_size(made, table, rest))
        where = f"UCI digits, {k} shots, auto"
        yield Row(what=f"expected calibration error, {where}", value=mean(errors), unit="%", at_most=asked)
        how = f"{mean(sizes):.2f} labels on average"
        yield Row(what=f"sets hold the truth, {where}", value=_percent(held), unit="%", at_least=90, how=how)
    how = f"{len(covered)} draws of 5 and 20 a class"
    yield Row(what="accuracy, interval covers, auto", value=_percent(covered), unit="%", at_least=90, how=how)


def _texts(table: Table) -> Iterator[Row]:
    """Intervals on the features of a real backbone: some intents, a few texts each."""
    covered: list[bool] = []
    for k in (3, 5, 10):
        for seed in range(20):
            intents = np.random.default_rng(seed).permutation(150)[:30]
            part = table.keep(np.isin(table.y, intents))
            made, rest = _fit(part, k, seed, "classification", "logistic")
            covered.append(bool(made.covers(_right(made, part, rest))))
    how = f"{len(covered)} draws of 3, 5, 10 texts of 30 intents, MiniLM, logistic"
    yield Row(
        what="accuracy, interval covers, CLINC150", value=_percent(covered), unit="%", at_least=90, how=how
    )


def _fit(table: Table, shots: int, seed: int, task: TaskName, method: str) -> tuple[Fit, Rows]:
    drawn, rest = table.draw(shots, seed)
    return fit(table.X[drawn], table.named(drawn), task, method=method, seed=seed), rest


def _right(made: Fit, table: Table, rest: Rows) -> float:
    return float((made.outputs(table.X[rest]).argmax(axis=1) == made.truth(table.named(rest))).mean())


def _held(made: Fit, table: Table, rest: Rows) -> list[float]:
    """The share of sets that hold the truth; nothing where the model gives none."""
    sets = made.sets(made.outputs(table.X[rest]))
    truth = made.truth(table.named(rest))
    return [] if sets is None else [float(sets[np.arange(len(truth)), truth].mean())]


def _size(made: Fit, table: Table, rest: Rows) -> float:
    sets = made.sets(made.outputs(table.X[rest]))
    return float("nan") if sets is None else float(sets.sum(axis=1).mean())


def _calibration(outputs: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    table = metrics.reliability(outputs.max(axis=1), outputs.argmax(axis=1) == truth)
    return 100 * metrics.calibration_error(table)


def _percent(shares: Sequence[float]) -> float:
    return 100 * float(np.mean(shares))
