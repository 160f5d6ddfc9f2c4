"""Every method on the project's example sets: accuracy, and whether the job's own estimate is honest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

from app.client import Client
from app.client.results import Job
from app.demo.service import temporary_service
from tests.benchmarks.examples import Examples, digits, spectra, texts
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import accuracy, fit, spread, upload

METHODS = ("auto", "logistic", "ridge", "prototypes", "knn")
_SHOTS = 5


@dataclass(frozen=True)
class Trial:
    """One method on one draw: accuracy on the rest and the job's estimate of it, in per cent."""

    accuracy: float
    estimate: float
    covered: bool


@benchmark("Examples: every method, and how honest its estimate is")
def examples(setup: Setup) -> Iterator[Row]:
    """The project's three example sets, 5 random examples a class, the model `auto` (its best backbone); the
    rest of the set is predicted. The estimate is cross-validated on those few examples alone; its interval
    is a 95 % one, so it should cover the accuracy on the rest in about 95 % of the draws, or more.
    """
    trials: dict[str, list[Trial]] = {method: [] for method in METHODS}
    with temporary_service() as client:
        for name, whole in (("texts", texts()), ("digits", digits()), ("spectra", spectra())):
            draws = [_draw(client, name, whole, seed) for seed in range(setup.amount(10))]
            for method in METHODS:
                found = [draw[method] for draw in draws]
                trials[method] += found
                yield _row(f"{name}, {method}", found)
    for method, found in trials.items():
        how = f"share of {len(found)} draws of all sets"
        covered = 100 * mean(trial.covered for trial in found)
        yield Row(what=f"interval covers, {method}", value=covered, unit="%", digits=0, how=how)


def _draw(client: Client, name: str, whole: Examples, seed: int) -> dict[str, Trial]:
    chosen, rest = whole.split(_SHOTS, seed)
    file = upload(client, chosen)
    found = {}
    for method in METHODS:
        job = fit(client, file, f"{name}-{method}", model="auto", method=method, seed=seed)
        found[method] = _trial(client, job, rest)
    return found


def _trial(client: Client, job: Job, rest: Examples) -> Trial:
    found = accuracy(client, job.fine_tuned_model or "", rest)
    estimate = client.jobs.report(job.id)["estimate"]
    covered = 100 * estimate["low"] <= found <= 100 * estimate["high"]
    return Trial(found, 100 * estimate["value"], covered)


def _row(what: str, trials: list[Trial]) -> Row:
    found = [trial.accuracy for trial in trials]
    covered = sum(trial.covered for trial in trials)
    how = (
        f"mean; {spread(found)}; estimated {mean(trial.estimate for trial in trials):.1f}, "
        f"covered in {covered} of {len(trials)}"
    )
    return Row(what=what, value=mean(found), unit="%", how=how)
