"""Imports the service once and forks it on demand: `python -m tests.kill.zygote [MUTANT]`.

Each line on stdin is a request: `{"role": "service" | "worker", "port": ..., "env": {...}, "log": path}`; the
answer on stdout is the process id.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import multiprocessing
import os
import signal
import sys
import traceback
from typing import Any

from tests.kill.mutants import MUTANTS


def serve(port: int) -> None:
    from app.start import serve as start

    start(port=port, worker=False)


def work(_: int) -> None:
    from app.worker import main

    main()


def child(request: dict[str, Any], mutant: str | None) -> None:
    """The forked process: it becomes the service or the worker."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["env"])
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # `kill -USR1` says where it hangs
    if mutant is not None:
        MUTANTS[mutant]()
    {"service": serve, "worker": work}[request["role"]](request["port"])


def main(mutant: str | None) -> None:
    for module in ("app.main", "app.start", "app.worker", "training.child", "uvicorn", "uvloop", "httptools"):
        importlib.import_module(module)
    local = importlib.import_module("app.runners.local")
    # Jobs fork from the worker, which has the training side already: a forkserver would import it each time.
    local._CONTEXT = multiprocessing.get_context("fork")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are killed
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line), mutant)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
