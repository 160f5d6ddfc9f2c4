"""`auto` on small tables beside scikit-learn's logistic regression on the same features."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from app.engine.blas import use_one_thread
from tests.benchmarks import draws
from tests.benchmarks.draws import Rows, Table
from tests.benchmarks.fits import fit
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import spread
from training import metrics

_C = 1.0  # scikit-learn's default: what somebody would try first


@dataclass(frozen=True)
class Asked:
    """Bars of `auto` at some shots; gains are over plain logistic regression, in points."""

    shots: int
    draws: int
    accuracy: float | None = None
    error: float | None = None  # expected calibration error
    gain: float | None = None
    worst: float | None = None
    seconds: float | None = None


_SETS: tuple[tuple[str, Callable[[], Table], tuple[Asked, ...]], ...] = (
    (
        "UCI digits",
        draws.digits,
        (
            Asked(1, 20, gain=-0.5),
            Asked(5, 20, accuracy=87.0, error=7.0, gain=1.0, worst=-1.0, seconds=1.0),
            Asked(20, 20, accuracy=95.0, error=3.0, gain=1.0, worst=-1.0, seconds=2.0),
            Asked(100, 4, accuracy=98.7, error=1.5),
        ),
    ),
    ("wine", draws.wine, (Asked(5, 30, gain=-0.5), Asked(20, 30, gain=-0.5))),
    ("breast cancer", draws.cancer, (Asked(5, 30, gain=-0.5), Asked(20, 30, gain=-0.5))),
)


@dataclass(frozen=True)
class Draw:
    """Accuracies in per cent, the expected calibration error of `auto`, its job's seconds and method."""

    auto: float
    plain: float
    error: float
    seconds: float
    method: str


@benchmark("The policy auto: small tables")
def auto(setup: Setup) -> Iterator[Row]:
    """k examples a class of a set of scikit-learn, features as they are (no backbone runs), the rest to
    judge by. Plain: scikit-learn's LogisticRegression, C = 1, on the same rows. A job's time is that of
    choosing, fitting, reporting and exporting.
    """
    use_one_thread()  # as in a job's process
    for name, load, asked in _SETS:
        table = load()
        for bar in asked:
            yield from _rows(
                name, bar, [_draw(table, bar.shots, seed) for seed in range(setup.amount(bar.draws, 2))]
            )


def _draw(table: Table, shots: int, seed: int) -> Draw:
    rows, rest = table.draw(shots, seed)
    started = time.perf_counter()
    made = fit(table.X[rows], table.named(rows), "classification", seed=seed)
    seconds = time.perf_counter() - started
    answers, truth = made.outputs(table.X[rest]), made.truth(table.named(rest))
    right = answers.argmax(axis=1) == truth
    error = metrics.calibration_error(metrics.reliability(answers.max(axis=1), right))
    return Draw(
        100 * float(right.mean()), _plain(table, rows, rest), 100 * error, seconds, made.report.method
    )


def _plain(table: Table, rows: Rows, rest: Rows) -> float:
    from sklearn.linear_model import LogisticRegression  # slow to import, and only this needs it

    head = LogisticRegression(C=_C, max_iter=2_000).fit(table.X[rows], table.y[rows])
    return 100 * float(head.score(table.X[rest], table.y[rest]))


def _rows(name: str, bar: Asked, found: list[Draw]) -> Iterator[Row]:
    what = f"{name}, {bar.shots} shot{'s' * (bar.shots > 1)}"
    scores = [draw.auto for draw in found]
    gains = np.array([draw.auto - draw.plain for draw in found])
    how = f"{spread(scores)}; plain {mean(draw.plain for draw in found):.1f}; {_chosen(found)}"
    yield Row(what=what, value=mean(scores), unit="%", at_least=bar.accuracy, how=how)
    yield Row(
        what=f"{what}, gain over plain",
        value=float(gains.mean()),
        unit="points",
        digits=2,
        at_least=bar.gain,
        how=_noise(gains),
    )
    yield Row(
        what=f"{what}, worst draw's gain",
        value=float(gains.min()),
        unit="points",
        digits=2,
        at_least=bar.worst,
    )
    if bar.error is not None:
        error = mean(draw.error for draw in found)
        yield Row(what=f"{what}, calibration error", value=error, unit="%", at_most=bar.error)
    if bar.seconds is not None:
        seconds = median(draw.seconds for draw in found)
        yield Row(what=f"{what}, job", value=seconds, unit="s", digits=2, at_most=bar.seconds, how="median")


def _noise(gains: NDArray[np.float64]) -> str:
    if len(gains) < 2:
        return ""
    return f"standard error {gains.std(ddof=1) / np.sqrt(len(gains)):.2f}"


def _chosen(found: list[Draw]) -> str:
    names = [draw.method for draw in found]
    return "chosen: " + ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names)))
