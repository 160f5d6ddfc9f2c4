"""`durian serve --workers 2`: the answers of one process, and a service that outlives any of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.admin import Admin
from app.settings import Settings
from tests.ports import free_port
from tests.support import TEXTS, jsonl
from tests.support import signal as wave

pytestmark = pytest.mark.slow
PREDICTION = {"model": "m", "input": [wave(0, 91), wave(1, 92)], "return_embedding": True}
START_SECONDS = 60.0


@dataclass
class Running:
    """A service with its processes: the supervisor, then the engine, then the front-ends."""

    process: subprocess.Popen[bytes]
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=60, **body)

    def children(self) -> list[psutil.Process]:
        return sorted(psutil.Process(self.process.pid).children(), key=lambda child: child.pid)

    def engine(self) -> psutil.Process:
        return next(child for child in self.children() if '"slot":0' in " ".join(child.cmdline()))

    def front_ends(self) -> list[psutil.Process]:
        engine = self.engine().pid
        return [child for child in self.children() if child.pid != engine]

    def ready(self) -> bool:
        try:
            return self.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False


def until(condition: Any, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def outlived(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are still there after a while: one that imports notices only when it is done. A zombie has
    ended; nobody may be there to notice."""

    def alive(one: psutil.Process) -> bool:
        try:
            return one.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + 20
    while (left := [one for one in family if alive(one)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


_SETTINGS = {"DURIAN_LANES": "1", "DURIAN_DRAIN_NOTICE_SECONDS": "3"}
"""So long, because clients on a machine that is busy with other tests must hear of it in time."""


@contextmanager
def running(data: Path, workers: int) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--workers", str(workers)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DURIAN_")}
    with (data / f"log-{workers}").open("ab") as log:
        process = subprocess.Popen(
            command, env=env | _SETTINGS | {"DURIAN_DATA": str(data)}, stderr=log, stdout=log
        )
    service = Running(process, f"http://127.0.0.1:{port}")
    family: list[psutil.Process] = []
    try:
        until(service.ready)
        family = psutil.Process(process.pid).children(recursive=True)
        yield service
    finally:
        process.terminate()
        process.wait(30)
        left = outlived(family)
        for one in left:
            one.kill()
        assert not left, "processes outlived their service"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def service(data: Path) -> Iterator[Running]:
    with running(data, 2) as service:
        rows = [{"input": wave(kind, seed), "label": str(kind)} for kind in (0, 1) for seed in range(6)]
        fit(service, "m", "signal/raw", rows)
        yield service


def fit(service: Running, name: str, backbone: str, rows: list[dict[str, Any]]) -> None:
    file = service.post(
        "/v1/files", files={"file": ("rows.jsonl", jsonl(rows))}, data={"purpose": "fine-tune"}
    )
    assert file.status_code == 200, file.text
    job = service.post(
        "/v1/fine_tuning/jobs",
        json={
            "model": backbone,
            "training_file": file.json()["id"],
            "suffix": name,
            "method": {"type": "logistic"},
        },
        headers={"prefer": "wait=60"},
    )
    assert job.json()["status"] == "succeeded", job.text


@dataclass
class Load:
    """Clients that predict, each on a new connection a request, until told to stop; and what they saw."""

    service: Running
    seen: Counter[Any] = field(default_factory=Counter)
    unclean: list[Any] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def on(self, clients: int = 4) -> Iterator[Load]:
        threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _client(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self.service.post("/v1/predictions", json=PREDICTION)
            except httpx.TransportError as error:
                self.seen["broken"] += 1
                self.unclean.append(repr(error))
                continue
            self.seen[answer.status_code] += 1
            clean = answer.status_code == 200 or (
                answer.status_code == 503
                and answer.headers["retry-after"] == "1"
                and answer.json()["error"]["code"] == "engine_away"
            )
            if not clean:
                self.unclean.append(answer.text)

    def answered(self, more: int = 20) -> None:
        """Wait for so many further answers."""
        enough = self.seen[200] + more
        until(lambda: self.seen[200] >= enough)


def test_there_is_one_engine_one_worker_and_one_address(service: Running) -> None:
    assert len(service.front_ends()) == 2
    asked = {service.get("/v2/health/live").status_code for _ in range(20)}
    assert asked == {200}
    assert service.get("/v1/fine_tuning/methods").json()["data"]
    assert "durian_device" in service.get("/metrics").text
    stats = service.get("/v2/models/m/versions/1/stats").json()["model_stats"]
    assert [entry["version"] for entry in stats] == ["1"]


def test_a_change_is_seen_by_every_process_at_once(service: Running) -> None:
    for number in range(12):
        alias = f"a{number}"
        place = f"{service.url}/v1/models/m/aliases/{alias}"
        assert httpx.put(place, json={"version": 1}, timeout=30).status_code == 200
        answer = service.post("/v1/predictions", json={**PREDICTION, "model": f"m@{alias}"})
        assert answer.status_code == 200, answer.text
        assert httpx.delete(place, timeout=30).status_code == 200
        gone = service.post("/v1/predictions", json={**PREDICTION, "model": f"m@{alias}"})
        assert gone.status_code == 404


def test_an_engine_that_is_killed_costs_clean_refusals_and_comes_back(service: Running) -> None:
    front_ends, engine = service.front_ends(), service.engine()
    load = Load(service)
    with load.on():
        load.answered()
        engine.kill()
        until(lambda: load.seen[503])
        assert service.get("/v2/health/ready").json()["ready"] is False
        assert service.get("/v2/health/live").status_code == 200
        until(service.ready)
        load.answered()
    assert load.unclean == []
    assert set(load.seen) == {200, 503}
    assert service.engine().pid != engine.pid
    assert [p.pid for p in service.front_ends()] == [p.pid for p in front_ends]
    assert 'durian_restarts_total{process="engine"} 1.0' in service.get("/metrics").text


def test_a_front_end_that_is_killed_is_replaced_while_the_others_go_on(service: Running) -> None:
    killed, other = service.front_ends()
    engine = service.engine().pid
    killed.kill()
    assert outlived([killed]) == []
    answers = Counter(service.post("/v1/predictions", json=PREDICTION).status_code for _ in range(20))
    assert answers == {200: 20}
    until(lambda: len(service.front_ends()) == 2)
    assert other.pid in {p.pid for p in service.front_ends()}
    assert service.engine().pid == engine


def test_answers_are_those_of_one_process_bit_for_bit(service: Running, data: Path) -> None:
    fit(service, "t", "text/minilm-l6", TEXTS)

    def answers(of: Running) -> list[Any]:
        bodies = [
            PREDICTION,
            {"model": "t", "input": "where is my parcel", "return_embedding": True, "top_k": 1},
            {"model": "t", "input": ["one text", "and a longer one beside it"], "return_embedding": True},
            {"model": "t", "input": 3},
        ]
        found = [of.post("/v1/predictions", json=body) for body in bodies]
        embedding = {"model": "text/minilm-l6", "input": "money", "encoding_format": "base64"}
        text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["my money back"]}
        return [
            *((one.status_code, one.json().get("digest"), one.json().get("data")) for one in found),
            of.post("/v1/embeddings", json=embedding).json(),
            of.post("/v2/models/t/infer", json={"inputs": [text]}).json(),
            of.get("/v2/models/t").json(),
        ]

    several = answers(service)
    with running(data, 0) as alone:
        assert answers(alone) == several


def test_a_revoked_key_is_refused_by_every_process_within_a_second(data: Path) -> None:
    (data / "closed").mkdir()
    admin = Admin(Settings(data=data / "closed"))
    keys = [admin.create_key("t", "admin") for _ in range(2)]
    with running(data / "closed", 2) as service:

        def asked(key: str) -> Counter[int]:
            """By connections of their own, which the kernel spreads over the front-ends."""
            headers = {"authorization": f"Bearer {key}"}
            return Counter(
                httpx.get(f"{service.url}/v1/files", headers=headers).status_code for _ in range(16)
            )

        assert [asked(key) for key in keys] == [{200: 16}, {200: 16}]
        admin.revoke_key(keys[0].split("_")[1])
        time.sleep(1)
        assert [asked(key) for key in keys] == [{401: 16}, {200: 16}]
        assert asked("none") == {401: 16}


def test_sigterm_lets_a_request_end_and_leaves_no_process(data: Path) -> None:
    with running(data, 2) as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        answer: list[httpx.Response] = []
        body = {"model": "text/minilm-l6", "input": [f"text number {i} of many" for i in range(256)]}
        client = threading.Thread(target=lambda: answer.append(service.post("/v1/embeddings", json=body)))
        client.start()
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(25) == 0
        client.join()
        assert [one.status_code for one in answer] == [200]
        assert len(answer[0].json()["data"]) == 256
        assert outlived(family) == []


def test_when_the_parent_is_killed_all_end_with_it(data: Path) -> None:
    with running(data, 1) as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        assert len(family) >= 2
        service.process.kill()
        assert outlived(family) == []
