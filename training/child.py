"""The entry point that runners start: one job in a process of its own.

Every message on the connection is a dict: `{"event": ...}` while the job runs, and last either
`{"done": ...}` or `{"failed": {"code", "message"}}`. Importing this module warms a forkserver.
"""

from __future__ import annotations

import os

# Before numpy is loaded: a job's matrices are small, and its neighbours need the other cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import ctypes
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from models.errors import DurianError
from models.events import Event
from models.fitspec import FitSpec
from models.recommendation import RecommendationSpec
from training import fit
from training.artefact import prove_a_graph
from training.catalogue import catalogue
from training.methods import METHODS
from training.relatedness import run as related

METHODS.load()  # in the forkserver, once, and not in every job
prove_a_graph()  # likewise: the first session of a process takes 20 ms, and starts no thread

log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_NICENESS = 5
OOM = "oom"
_OOM_MESSAGE = "The job needs more memory than it may use; use fewer examples."
_OOM_WORDS = ("bad_alloc", "out of memory", "can't allocate memory", "failed to allocate memory")


class Sink(Protocol):
    """The writing end of a connection."""

    def send(self, message: dict[str, Any], /) -> None: ...

    def close(self) -> None: ...


def main(spec_path: str, connection: Sink) -> None:
    """The job in a child process: dies with its parent, yields to the service."""
    die_with_parent()
    os.nice(_NICENESS)
    run(spec_path, connection)


def run(spec_path: str, connection: Sink) -> None:
    """The job, wherever this is called; it ends with `done` or `failed`, never with an exception."""
    try:
        connection.send(_answer(partial(_result, spec_path, connection)))
    finally:
        connection.close()


def describe(connection: Sink) -> None:
    """One message: `{"methods": [...]}`."""
    try:
        connection.send({"methods": catalogue()})
    finally:
        connection.close()


def main_recommend(spec: str, connection: Sink) -> None:
    """`recommend` in a child process; at full priority, for somebody waits for the answer."""
    die_with_parent()
    recommend(spec, connection)


def recommend(spec: str, connection: Sink) -> None:
    """One message for a RecommendationSpec as JSON: `{"recommendation": {...}}` or `{"failed": ...}`."""
    try:
        connection.send(_answer(partial(_recommended, spec)))
    finally:
        connection.close()


def die_with_parent() -> None:
    """Kill this process when the one it works for ends, however that ends.

    Linux tells of the end of the process that forked this one, which is the forkserver; and that lives on
    while a child of its does. So the end of the process that asked for the child is waited for besides.
    """
    forked_by = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != forked_by:  # it ended before the request was heard
        os._exit(1)
    asked_by = multiprocessing.parent_process()
    if asked_by is not None:
        threading.Thread(target=_die_after, args=(asked_by,), name="parent", daemon=True).start()


def _die_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _result(spec_path: str, connection: Sink) -> dict[str, Any]:
    def emit(event: Event) -> None:
        connection.send({"event": event.model_dump(mode="json")})

    spec = FitSpec.model_validate_json(Path(spec_path).read_bytes())
    return {"done": {"digest": fit.run(spec, emit).manifest.digest}}


def _recommended(spec: str) -> dict[str, Any]:
    found = related.run(RecommendationSpec.model_validate_json(spec))
    return {"recommendation": found.model_dump(mode="json")}


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work gives, or how it failed."""
    try:
        return work()
    except DurianError as error:
        return _failed(error.code, error.message)
    except MemoryError:
        return _failed(OOM, _OOM_MESSAGE)
    except BrokenPipeError:
        raise  # nobody listens any more
    except Exception as error:
        if _is_oom(error):
            return _failed(OOM, _OOM_MESSAGE)
        log.exception("A job failed.")
        return _failed("internal", "The training failed unexpectedly; the service's log has the details.")


def _is_oom(error: Exception) -> bool:
    """Native code says so in words: ONNX Runtime, torch and C++ itself."""
    text = str(error).lower()
    return any(words in text for words in _OOM_WORDS)


def _failed(code: str, message: str) -> dict[str, Any]:
    return {"failed": {"code": code, "message": message}}
