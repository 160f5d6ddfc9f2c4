"""A thousand models over one backbone: what the second to the thousandth cost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from starlette.testclient import TestClient

from app.client import Client
from app.db.tables import Job
from app.demo.service import temporary_service
from app.garbage import set_aside
from app.main import Process, app_of, build
from app.services.publication import Published
from app.settings import Settings
from tests.benchmarks.drive import Target, by_threads, drive
from tests.benchmarks.examples import texts
from tests.benchmarks.many import publish_many, requests_of
from tests.benchmarks.registry import Broken, Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, cpu_seconds, megabytes, processes, spread

_CLIENTS = 32
_MB, _KB = 1e6, 1e3


@benchmark("Many models: a thousand over one backbone")
def many_models(setup: Setup) -> Iterator[Row]:
    """Text models of 2 to 20 classes over MiniLM, each with its head and its novelty of five examples a
    class. Throughput: one text a request, 32 clients, over all models in turn against all to one model, in
    slices that take turns; predictions per CPU second of the service hold on a busy machine. Memory: PSS of
    the service with all models asked once, less that of one with a single model asked as often, less what
    the models' arrays take. Adding: what comes after a job's training (artefact made durable, golden
    examples run, published, catalogue changed), while all the others are served.
    """
    count = setup.amount(1_000, 50)
    with temporary_service(partial(publish_many, count=count)) as client:
        several = Asked(client, count, spread=True)
        alone = Asked(client, count, spread=False)
        several.each_once()
        many_pss = _service_pss()
        arrays = _loaded_bytes(client)
        yield from _throughput(several, alone, setup)
    with temporary_service(partial(publish_many, count=1)) as client:
        Asked(client, count, spread=False).each_once()
        one_pss = _service_pss()
    each = (many_pss - one_pss - arrays) / count / _KB
    how = f"PSS {many_pss / _MB:.0f} MB, with one model {one_pss / _MB:.0f}; arrays {arrays / _MB:.1f} MB"
    yield Row(what="memory a model beyond its arrays", value=each, unit="kB", at_most=50, how=how)
    yield from _adding(count, setup)


class Asked:
    """Requests to one model or to all."""

    def __init__(self, client: Client, count: int, *, spread: bool) -> None:
        url = client.driver.http.base_url
        bodies = requests_of(count, list(texts().inputs), spread=spread)
        sent = [json.dumps(body).encode() for body in bodies]
        self._target = Target(url.host, url.port or 80, "/v1/predictions", sent)
        self._tree = processes()

    def each_once(self) -> None:
        for body in self._target.bodies:
            by_threads(replace(self._target, bodies=[body]), 1, 0.0)

    def rates(self, seconds: float) -> tuple[float, float]:
        """Predictions per CPU second and per second."""
        before = cpu_seconds(self._tree)
        seen = drive(self._target, _CLIENTS, seconds)
        return seen.answered / (cpu_seconds(self._tree) - before), seen.answered / seen.seconds


def _throughput(several: Asked, alone: Asked, setup: Setup) -> Iterator[Row]:
    pairs = [
        (several.rates(setup.amount(4)), alone.rates(setup.amount(4))) for _ in range(setup.amount(9, 2))
    ]
    for i, what in enumerate(("CPU second", "second")):
        ratios = [many[i] / one[i] for many, one in pairs]
        ends = f"{median(many[i] for many, _ in pairs):.0f} against {median(one[i] for _, one in pairs):.0f}"
        yield Row(
            what=f"throughput of all against one model, per {what}",
            value=median(ratios),
            digits=3,
            at_least=0.95 if i == 0 else None,
            how=f"median; {ends}; {spread(ratios, 3)}",
        )


def _service_pss() -> float:
    return megabytes(processes()[0], "smaps_rollup", "Pss") * _MB


def _loaded_bytes(client: Client) -> float:
    found = re.search(r'^durian_loaded_bytes\{kind="head"\} (\S+)$', _metrics(client), re.MULTILINE)
    if found is None:
        raise Broken("The service does not tell what its models take.")
    return float(found[1])


def _metrics(client: Client) -> str:
    return client.driver.http.get("/metrics").text


def _adding(count: int, setup: Setup) -> Iterator[Row]:
    with TemporaryDirectory(prefix="durian-many-") as folder:
        data = Path(folder) / "data"
        publish_many(data, count)
        process = build(Settings(data=data))
        seconds = _timed(process)
        with TestClient(app_of(process, worker=True)) as client:
            set_aside()  # as a server does once it has started
            _jobs(client, setup.amount(20, 3))
    taken, cpu = ([1_000 * one[i] for one in seconds] for i in (0, 1))
    how = f"median beside {count} other models; {spread(taken)}"
    yield Row(what="adding a model after its job", value=median(taken), unit="ms", at_most=20, how=how)
    how = f"median, of the whole process, what a quiet machine would not save; {spread(cpu)}"
    yield Row(what="CPU time of adding a model", value=median(cpu), unit="ms", how=how)


def _timed(process: Process) -> Sequence[tuple[float, float]]:
    """Seconds, and CPU seconds of this process, of each publication from here on."""
    publish, seconds = process.worker.publisher.publish, list[tuple[float, float]]()

    def timed(job: Job, output: Path) -> Published | None:
        started, cpu = time.perf_counter(), time.process_time()
        published = publish(job, output)
        seconds.append((time.perf_counter() - started, time.process_time() - cpu))
        return published

    process.worker.publisher.publish = timed  # type: ignore[method-assign]
    return seconds


def _jobs(client: TestClient, count: int) -> None:
    """New models from one upload, which differ in their seed."""
    chosen, _ = texts().split(5, seed=0)
    files = {"file": ("rows.jsonl", chosen.jsonl())}
    file = client.post("/v1/files", files=files, data={"purpose": "fine-tune"}).json()["id"]
    for number in range(count):
        body = {"model": MINILM, "training_file": file, "suffix": f"new{number}", "seed": number}
        asked = {**body, "method": {"type": "logistic"}}
        job = client.post("/v1/fine_tuning/jobs", json=asked, headers={"prefer": "wait=60"}).json()
        if job["status"] != "succeeded":
            raise Broken(f"A job is {job['status']}.")
