"""Jobs as child processes of a warm forkserver: a crash or a kill takes only the job with it.

The forkserver imports the training side once; a job then starts in milliseconds. It ends by itself
when the worker does, and every child ends with it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import signal
from collections.abc import Callable
from typing import Any

from app import logs
from app.runners.base import DIED, ENTRY, OOM
from app.runners.pressure import oom_kills
from models.errors import Unavailable
from models.fitspec import FitSpec
from models.recommendation import RecommendationSpec

_CONTEXT = multiprocessing.get_context("forkserver")
_START_SECONDS = 60.0
# What every child needs, imported once in the forkserver: the training side, this module with what it
# imports, and the program itself, which multiprocessing runs again in each child as `__mp_main__`.
_PRELOAD = [ENTRY, __name__, "app.cli"]


def _enter(module: str, function: str, job: str | None, memory: int | None, *arguments: object) -> None:
    """Runs in the child: hand over to the training side. What it may allocate ends at `memory` bytes."""
    logs.configure()
    if job is not None:
        logs.bind(job_id=job)
    if memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    entry: Callable[..., None] = getattr(importlib.import_module(module), function)
    entry(*arguments)


class LocalRun:
    """One child; `memory` bounds what it may allocate, in bytes."""

    def __init__(
        self, function: str, *arguments: object, job: str | None = None, memory: int | None = None
    ) -> None:
        self._oom_kills = oom_kills()
        self._reader, writer = _CONTEXT.Pipe(duplex=False)
        everything = (ENTRY, function, job, memory, *arguments, writer)
        self._process = _CONTEXT.Process(target=_enter, args=everything, daemon=True)
        self._process.start()
        writer.close()  # the child's copy is the only one left: its end is our end of file

    def messages(self, timeout: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            while self._reader.poll(0 if found else timeout):
                found.append(self._reader.recv())
        except (EOFError, OSError):
            pass  # it ended, perhaps in the middle of a message
        return found

    def alive(self) -> bool:
        return self._process.is_alive()

    def fate(self) -> str:
        self._process.join()
        killed = self._process.exitcode == -signal.SIGKILL
        return OOM if killed and oom_kills() > self._oom_kills else DIED

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._reader.close()


class LocalRunner:
    """Children of this process's forkserver. A job may allocate `memory` bytes."""

    def __init__(self, memory: int | None = None) -> None:
        self._memory = memory
        _CONTEXT.set_forkserver_preload(_PRELOAD)
        self._methods: list[dict[str, Any]] | None = None

    def start(self, spec: FitSpec, spec_path: str) -> LocalRun:
        return LocalRun("main", spec_path, job=spec.job_id, memory=self._memory)

    def methods(self) -> list[dict[str, Any]]:
        """Asked of the training side once; this also warms the forkserver."""
        if self._methods is None:
            run = LocalRun("describe")
            try:
                answers = run.messages(_START_SECONDS)
            finally:
                run.kill()
            if not answers:
                raise Unavailable("The training side did not start; see the service's log.")
            self._methods = list(answers[0]["methods"])
        return self._methods

    def recommend(self, spec: RecommendationSpec) -> LocalRun:
        return LocalRun("main_recommend", spec.canonical().decode())

    def close(self) -> None:
        """Nothing to do: the forkserver ends with this process."""
