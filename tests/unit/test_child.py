"""The entry point that runners start."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.runners.local import LocalRunner
from models.recommendation import RecommendationSpec
from tests.kill.killer import lives
from tests.training_support import Bench, blobs, names_of
from training import child, fit

FORKSERVER = multiprocessing.get_context("forkserver")  # as the service starts jobs
FORK = multiprocessing.get_context("fork")


class Sink:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed = False

    def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def spec_path(tmp_path: Path) -> str:
    problem = blobs("classification")
    spec = Bench(tmp_path).spec("classification", names_of(problem), problem.X)
    (tmp_path / "fitspec.json").write_bytes(spec.canonical())
    return str(tmp_path / "fitspec.json")


def test_what_jobs_are_forked_from_has_one_thread() -> None:
    """A lock that another thread held would never be let go of in a child."""
    count = "import os, training.child; print(len(os.listdir('/proc/self/task')))"
    told = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"


def test_events_come_first_and_done_last(spec_path: str) -> None:
    sink = Sink()
    child.run(spec_path, sink)
    assert sink.closed
    assert len(sink.messages[-1]["done"]["digest"]) == 64
    assert all("event" in message for message in sink.messages[:-1])


def test_unexpected_error_is_logged_and_not_told(
    spec_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*arguments: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(fit, "run", explode)
    sink = Sink()
    with caplog.at_level(logging.ERROR):
        child.run(spec_path, sink)
    failed = sink.messages[-1]["failed"]
    assert failed["code"] == "internal"
    assert "secret" not in failed["message"]
    assert "secret detail" in caplog.text


def test_memory_error_has_its_own_code(spec_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(fit, "run", exhaust)
    sink = Sink()
    child.run(spec_path, sink)
    assert sink.messages[-1]["failed"]["code"] == "oom"


def test_describe_lists_every_method_with_auto_first() -> None:
    sink = Sink()
    child.describe(sink)
    methods = sink.messages[0]["methods"]
    assert methods[0]["name"] == "auto"
    assert all(
        {"name", "title", "tasks", "modalities", "setting", "source", "hyperparameters"} <= set(method)
        for method in methods
    )


def test_runs_in_a_process_of_its_own(spec_path: str) -> None:
    reader, writer = FORKSERVER.Pipe(duplex=False)
    process = FORKSERVER.Process(target=child.main, args=(spec_path, writer))
    process.start()
    writer.close()
    messages = []
    while not messages or "event" in messages[-1]:
        assert reader.poll(60)
        messages.append(reader.recv())
    process.join(30)
    assert "done" in messages[-1]
    assert process.exitcode == 0


def _linger(connection: Any) -> None:
    child.die_with_parent()
    connection.send(os.getpid())
    time.sleep(60)


ASKS = """
import sys, time
from tests.unit.test_child import FORKSERVER, _linger
connection = FORKSERVER.Pipe(duplex=False)
FORKSERVER.Process(target=_linger, args=(connection[1],)).start()
print(connection[0].recv(), flush=True)
time.sleep(60)
"""


def _forked(connection: Any) -> None:
    process = FORK.Process(target=_linger, args=(connection,))
    process.start()
    process.join()


def _wait_gone(pid: int) -> None:
    """Until it is, or is waited for by whoever adopted it."""
    deadline = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < deadline, "it outlives its parent"
        time.sleep(0.01)


def test_child_dies_with_the_process_that_forked_it() -> None:
    reader, writer = FORK.Pipe(duplex=False)
    parent = FORK.Process(target=_forked, args=(writer,))
    parent.start()
    assert reader.poll(60)
    child_pid = reader.recv()
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    _wait_gone(child_pid)


def test_child_of_a_forkserver_dies_with_the_process_that_asked_for_it() -> None:
    """The forkserver does not: a child keeps it alive."""
    with subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert lives(child_pid)
        parent.kill()
    _wait_gone(child_pid)


def recommendation_spec(tmp_path: Path, **change: Any) -> str:
    problem = blobs("classification")
    bench = Bench(tmp_path)
    path, digest, pack = bench.pack("train", "classification", names_of(problem))
    bench.embed(pack, problem.X, bench.backbone())
    spec = RecommendationSpec(
        task="classification",
        modality="image",
        training_pack=path,
        training_digest=digest,
        backbones=(bench.backbone(),),
        default_taps={"text/tiny": "top"},
        features=str(bench.cache.folder),
    )
    return spec.model_copy(update=change).canonical().decode()


def test_a_recommendation_is_one_message(tmp_path: Path) -> None:
    sink = Sink()
    child.recommend(recommendation_spec(tmp_path), sink)
    (message,) = sink.messages
    assert message["recommendation"]["candidates"][0]["tap"] == "top"
    assert sink.closed


def test_a_recommendation_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    sink = Sink()
    child.recommend(recommendation_spec(tmp_path, training_pack="nowhere"), sink)
    assert sink.closed
    assert [message["failed"]["code"] for message in sink.messages] == ["data_gone"]


def test_a_recommendation_comes_from_a_child_process(tmp_path: Path) -> None:
    spec = RecommendationSpec.model_validate_json(recommendation_spec(tmp_path))
    run = LocalRunner().recommend(spec)
    (message,) = run.messages(60)
    run.kill()
    assert message["recommendation"]["examples"] == 24
