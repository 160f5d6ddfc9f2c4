"""Imports the service once and forks it on demand: `python -m tests.kill.zygote [MUTANT]`.

Each line on stdin is a request: `{"role": "service" | "worker", "port": ..., "env": {...}, "log": path}`; the
answer on stdout is the process id.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing import forkserver, util
from typing import Any

from tests.kill.mutants import MUTANTS

spawn = util.spawnv_passfds


def serve(port: int) -> None:
    from app.start import serve as start

    start(port=port, worker=False)


def work(_: int) -> None:
    from app.worker import main

    forkserver.ensure_running()  # now, while this process has one thread
    main()


def fork_forkserver(path: Any, args: list[Any], fds: list[int]) -> int:
    """In place of the new interpreter that multiprocessing starts: that would import the training side each
    time, and this process has it already."""
    if "multiprocessing.forkserver" not in args[-1]:
        return spawn(path, args, fds)
    pid = os.fork()
    if pid == 0:
        try:
            for fd in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *fds}:
                with suppress(OSError):  # the one that listed the folder
                    os.close(fd)
            exec(args[-1], {})
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return pid


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
    util.spawnv_passfds = fork_forkserver
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
