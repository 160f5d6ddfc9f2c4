"""How long from the request for a job to the first prediction by its model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np

from app.client import Client
from app.demo.service import temporary_service
from tests.benchmarks.examples import Examples, clinc150, errands, texts
from tests.benchmarks.registry import Broken, Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, spread, succeeded, upload

_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Case:
    """Examples to learn from, and the medians that are asked, in ms: of all, and without the features."""

    name: str
    examples: Examples
    runs: int
    asked: float | None
    without_features: float | None


@dataclass(frozen=True)
class Run:
    """Milliseconds to the first prediction, and those of the phases in the job's process."""

    total: float
    phases: dict[str, float]


@benchmark("Latency: from job creation to a served model")
def latency(setup: Setup) -> Iterator[Row]:
    """`POST /v1/fine_tuning/jobs` (`auto` on `text/minilm-l6`) until the first prediction by the new version,
    with features in the cache; the job is polled every 10 ms. Phases are the job report's; the rest is
    queueing, starting the child process, golden check, publication, HTTP and polling.
    """
    small = texts().classes(10)
    large, origin = _large(setup)
    cases = (
        Case("10 × 5", small.take(small.draw(5, seed=0)), setup.amount(15, 3), 300, None),
        Case(f"150 × 10 ({origin})", large.take(large.draw(10, seed=0)), setup.amount(3), None, 3_000),
    )
    with temporary_service() as client:
        for case in cases:
            yield from _case(client, case)


def _large(setup: Setup) -> tuple[Examples, str]:
    """150 classes: CLINC150's where it is, else made-up ones."""
    try:
        return clinc150(setup)[0], "CLINC150"
    except Skipped:
        return errands(), "made-up texts"


def _case(client: Client, case: Case) -> Iterator[Row]:
    file = upload(client, case.examples)
    suffix, text = f"latency-{len(case.examples)}", case.examples.inputs[0]
    _run(client, file, suffix, text, seed=0)  # fills the feature cache; not counted
    runs = [_run(client, file, suffix, text, seed) for seed in range(1, case.runs + 1)]
    totals = [run.total for run in runs]
    how = f"median; {spread(totals, 0)}"
    yield Row(what=case.name, value=median(totals), unit="ms", digits=0, at_most=case.asked, how=how)
    value = median(run.total - run.phases["features"] for run in runs)
    what, asked = f"{case.name}, without the features", case.without_features
    yield Row(what=what, value=value, unit="ms", digits=0, at_most=asked, how="median")
    p95 = float(np.percentile(totals, 95))
    yield Row(what=f"{case.name}, 95th percentile", value=p95, unit="ms", digits=0)
    for phase in (*runs[0].phases, "rest"):
        values = [run.phases.get(phase, run.total - sum(run.phases.values())) for run in runs]
        yield Row(what=f"{case.name}, of it {phase}", value=median(values), unit="ms", digits=0, how="median")


def _run(client: Client, file: str, suffix: str, text: str, seed: int) -> Run:
    started = time.perf_counter()
    job = client.jobs.create(MINILM, file, suffix=suffix, seed=seed)
    while not job.finished:
        time.sleep(_POLL_SECONDS)
        job = client.jobs.retrieve(job.id)
    result = succeeded(job).result or {}
    answer = client.predict(job.fine_tuned_model or "", text)
    total = time.perf_counter() - started
    if answer.digest != result["digest"]:
        raise Broken("The job had succeeded, but an older version answered.")
    return Run(1_000 * total, {phase: 1_000 * seconds for phase, seconds in result["timings"].items()})
