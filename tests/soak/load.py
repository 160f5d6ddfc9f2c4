"""Users who never stop: they ask, upload, train, teach, cancel and send nonsense, each at a steady pace."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from app.client import Client
from app.client.errors import ClientError
from app.client.results import Job, Predictions
from app.client.retry import Retry
from tests.support import jsonl

TEXT, SIGNAL = "text/minilm-l6", "signal/durian-small"
METHODS = ("auto", "ridge", "prototypes", "logistic", "knn")
KEPT = 4
"""Models and versions that a user keeps of what they train."""
MOST_EXAMPLES = 200
_TOLERANCE = 1e-5
_JOB_SECONDS = 120.0
_THINGS = ("parcel", "invoice", "password", "screen", "battery", "refund", "address", "voucher")
_NONSENSE: tuple[tuple[str, str, Any, int], ...] = (
    ("POST", "/v1/predictions", {"model": "steady-text"}, 422),
    ("POST", "/v1/predictions", {"model": "nobody", "input": "a"}, 404),
    ("POST", "/v1/predictions", {"model": "steady-signal", "input": ["a", "b"]}, 422),
    ("POST", "/v1/fine_tuning/jobs", {"model": TEXT, "training_file": "file-none"}, 404),
    ("POST", "/v2/models/steady-text/infer", {"inputs": [{"name": "x", "shape": [9]}]}, 400),
    ("GET", "/v1/files/file-none", None, 404),
    ("POST", "/v1/predictions", b"{", 400),
)


def texts(rng: random.Random, n: int) -> list[dict[str, Any]]:
    """Sentences nobody sent before, about two things."""
    things = rng.sample(_THINGS, 2)
    return [
        {
            "input": f"{rng.choice(('My', 'A', 'The'))} {things[i % 2]} {rng.getrandbits(40):x} is late",
            "label": things[i % 2],
        }
        for i in range(n)
    ]


def signals(rng: random.Random, n: int) -> list[dict[str, Any]]:
    return [
        {"input": [round(i % 2 + rng.gauss(0, 0.3), 4) for _ in range(48)], "label": f"class {i % 2}"}
        for i in range(n)
    ]


KINDS: dict[str, tuple[str, Callable[[random.Random, int], list[dict[str, Any]]]]] = {
    "text": (TEXT, texts),
    "signal": (SIGNAL, signals),
}


@dataclass
class Seen:
    """What users counted, and what should not have been."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def did(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def complain(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)


class User(threading.Thread):
    """Does `act` again and again, `pause` seconds apart. An answer that is no success is a complaint."""

    pause = 1.0

    def __init__(self, url: str, seen: Seen, stop: threading.Event, seed: int) -> None:
        super().__init__(daemon=True, name=f"{type(self).__name__}-{seed}")
        self.client = Client(url, retry=Retry(attempts=0))
        self.seen = seen
        self.stop = stop
        self.random = random.Random(f"{type(self).__name__} {seed}")

    def run(self) -> None:
        while not self.stop.wait(self.pause * self.random.uniform(0.5, 1.5)):
            try:
                self.act()
            except ClientError as error:
                self.seen.complain(f"{self.name}: {error}")
            except Exception as error:
                self.seen.complain(f"{self.name}: {error!r}")
        self.client.close()

    def act(self) -> None:
        raise NotImplementedError

    def train(self, kind: str, suffix: str, method: str) -> Job:
        backbone, rows = KINDS[kind]
        file = self.client.files.create(jsonl(rows(self.random, 24)), filename="rows.jsonl")
        job = self.client.jobs.create(backbone, file.id, suffix=suffix, method=method, wait=_JOB_SECONDS)
        self.seen.did(f"jobs of {kind}")
        if job.status != "succeeded":
            self.seen.complain(f"{self.name}: a job is {job.status}: {job.error}")
        self.client.files.delete(file.id)
        return job


class Asker(User):
    """Asks models that stay the same questions: the answers must stay the same too."""

    pause = 0.25

    def __init__(self, url: str, seen: Seen, stop: threading.Event, seed: int) -> None:
        super().__init__(url, seen, stop, seed)
        self._first: dict[tuple[str, int], Predictions] = {}
        self._questions = {kind: rows(random.Random(1), 8) for kind, (_, rows) in KINDS.items()}

    def act(self) -> None:
        kind = self.random.choice(list(KINDS))
        if self.random.random() < 0.2:
            backbone, rows = KINDS[kind]
            self.client.embeddings(backbone, [row["input"] for row in rows(self.random, 3)])
            self.seen.did("embeddings")
            return
        many = self.random.choice((1, 1, 1, 8))
        asked = [row["input"] for row in self._questions[kind][:many]]
        answer = self.client.predict(f"steady-{kind}", asked)
        first = self._first.setdefault((kind, many), answer)
        if not same(first, answer):
            self.seen.complain(f"{self.name}: another answer than at first: {answer}")
        self.seen.did("predictions")


def same(first: Predictions, answer: Predictions) -> bool:
    """Whether two answers are one version's, up to what a batch may change."""
    scores = [[[score.score for score in item.scores] for item in said.data] for said in (first, answer)]
    return (first.version, first.digest) == (answer.version, answer.digest) and np.allclose(
        *scores, rtol=0, atol=_TOLERANCE
    )


class Trainer(User):
    """Trains models, asks each once, and deletes all but the last few."""

    pause = 4.0

    def __init__(self, url: str, seen: Seen, stop: threading.Event, seed: int) -> None:
        super().__init__(url, seen, stop, seed)
        self._models: deque[str] = deque()
        self._made = 0

    def act(self) -> None:
        kind = self.random.choice(list(KINDS))
        self._made += 1
        job = self.train(kind, f"{self.name.lower()}-{self._made}", self.random.choice(METHODS))
        if not job.result:
            return
        self._models.append(job.result["model"])
        asked = KINDS[kind][1](self.random, 2)
        self.client.predict(job.result["model"], [row["input"] for row in asked])
        while len(self._models) > KEPT:
            self.client.models.delete(self._models.popleft())


class Teacher(User):
    """Teaches one model example by example: a new version each time, of which the last few stay."""

    pause = 10.0

    def act(self) -> None:
        examples = [(row["input"], row["label"]) for row in signals(self.random, 6)]
        taught = self.client.models.add_examples(
            "taught", examples, backbone=SIGNAL, method="ridge", modality="signal", wait=_JOB_SECONDS
        )
        self.seen.did("lessons")
        versions = [model.version for model in self.client.models.versions("taught").data]
        for version in sorted(versions)[:-KEPT]:
            self.client.models.delete(f"taught:{version}")
        if taught.dataset is not None and taught.dataset.examples > MOST_EXAMPLES:
            self.client.models.delete("taught")
            self.client.datasets.delete(taught.dataset.id)


class Canceller(User):
    pause = 15.0

    def act(self) -> None:
        file = self.client.files.create(jsonl(texts(self.random, 60)), filename="rows.jsonl")
        job = self.client.jobs.create(TEXT, file.id, suffix="cancelled")
        self.stop.wait(self.random.random() * 0.5)
        self.client.jobs.cancel(job.id)
        self.client.files.delete(file.id)
        self.seen.did("cancels")


class Nonsense(User):
    """Sends what must be refused, and says if it is not."""

    pause = 1.0

    def __init__(self, url: str, seen: Seen, stop: threading.Event, seed: int) -> None:
        super().__init__(url, seen, stop, seed)
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def act(self) -> None:
        method, path, body, status = self.random.choice(_NONSENSE)
        sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        headers = {"content-type": "application/json"} if isinstance(body, bytes) else {}
        answer = self._http.request(method, path, headers=headers, **({} if body is None else sent))
        if answer.status_code != status:
            self.seen.complain(f"{method} {path}: {answer.status_code}, not {status}")
        self.seen.did("refusals")


def users(url: str, seen: Seen, stop: threading.Event) -> list[User]:
    """All of them, not started; the models that stay are trained here."""
    everybody: list[User] = [
        *(Asker(url, seen, stop, i) for i in range(4)),
        Trainer(url, seen, stop, 1),
        Trainer(url, seen, stop, 2),
        Teacher(url, seen, stop, 1),
        Canceller(url, seen, stop, 1),
        Nonsense(url, seen, stop, 1),
    ]
    for kind in KINDS:
        everybody[0].train(kind, f"steady-{kind}", "logistic")
    return everybody


def rest(everybody: list[User], stop: threading.Event, seconds: float) -> None:
    """Let them finish what they do."""
    stop.set()
    deadline = time.monotonic() + seconds
    for user in everybody:
        user.join(max(0.0, deadline - time.monotonic()))
