"""Few-shot accuracy on 150 intents, beside plain scikit-learn on the same embeddings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from app.client import Client
from app.demo.service import temporary_service
from tests.benchmarks.examples import Examples, clinc150
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import accuracy, embed, fit, spread, upload

_ASKED = {5: 87.0, 10: 91.0}
_PLAIN = (10.0, 1.0)


@dataclass(frozen=True)
class Draw:
    """One draw: Durian's accuracy, its job's seconds, scikit-learn's accuracy by C."""

    accuracy: float
    seconds: float
    plain: dict[float, float]


@dataclass(frozen=True, eq=False)
class Task:
    """The data, and the embeddings of the test part."""

    train: Examples
    test: Examples
    embedded: NDArray[np.float32]


@benchmark("Few-shot accuracy: 150 intents of CLINC150", needs_data=True)
def fewshot(setup: Setup) -> Iterator[Row]:
    """k random examples of each intent (Larson 2019, data_full without out-of-scope) are uploaded, `auto` is
    fitted on `text/minilm-l6`, and the whole test part is predicted. Plain: scikit-learn's
    LogisticRegression on the same examples' embeddings from `/v1/embeddings`.
    """
    train, test = clinc150(setup)
    test = test.take(range(0, len(test), setup.amount(1, 9)))
    with temporary_service() as client:
        task = Task(train, test, embed(client, test.inputs))
        for shots, asked in _ASKED.items():
            draws = [_draw(client, task, shots, seed) for seed in range(setup.amount(5))]
            yield from _rows(shots, asked, draws)


def _draw(client: Client, task: Task, shots: int, seed: int) -> Draw:
    chosen = task.train.take(task.train.draw(shots, seed))
    file = upload(client, chosen)
    started = time.perf_counter()
    job = fit(client, file, f"clinc-{shots}-{seed}", seed=seed)
    seconds = time.perf_counter() - started
    X = embed(client, chosen.inputs)
    plain = {C: _plain(X, chosen, task, C) for C in _PLAIN}
    return Draw(accuracy(client, job.fine_tuned_model or "", task.test), seconds, plain)


def _plain(X: NDArray[np.float32], chosen: Examples, task: Task, C: float) -> float:
    from sklearn.linear_model import LogisticRegression  # slow to import, and only this needs it

    head = LogisticRegression(C=C, max_iter=1_000).fit(X, chosen.labels)
    return 100 * float(head.score(task.embedded, task.test.labels))


def _rows(shots: int, asked: float, draws: list[Draw]) -> Iterator[Row]:
    found = [draw.accuracy for draw in draws]
    how = f"mean of the draws; {spread(found)}"
    yield Row(what=f"{shots} shots, auto", value=mean(found), unit="%", at_least=asked, how=how)
    for C in _PLAIN:
        values = [draw.plain[C] for draw in draws]
        what = f"{shots} shots, plain logistic, C = {C:g}"
        yield Row(what=what, value=mean(values), unit="%", how=spread(values))
    seconds = [draw.seconds for draw in draws]
    how = f"median; right after the upload, so embedding is part of it; {spread(seconds, 2)}"
    yield Row(what=f"{shots} shots, job", value=median(seconds), unit="s", digits=2, how=how)
