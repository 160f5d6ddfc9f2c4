"""The process that children are forked from: every decoder is loaded, and nothing of a stranger's is read.

It takes orders from a socket, one at a time, in one thread: `fork` with the limits and the child's end of
its channel, answered by a process id; `end` for a child, answered by how it ended.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time

import orjson

from app.decoding.channel import Channel
from app.decoding.child import serve
from app.decoding.limits import Limits
from app.parent import die_with

_ORDER = 4096
_GRACE_SECONDS = 1.0
_POLL_SECONDS = 0.002


def main(control: socket.socket) -> None:
    """Until the other end hangs up; the children end with this process."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which ends this when it is done
        signal.signal(stop, signal.SIG_IGN)
    _load()
    gc.freeze()  # a collection in a child must not copy the pages that all share
    while True:
        data, fds, _, _ = socket.recv_fds(control, _ORDER, 1)
        if not data:
            return
        order = orjson.loads(data)
        fork = order.get("fork")
        answer = _fork(control, fds[0], Limits(**fork)) if fork else _end(order["end"], kill=order["kill"])
        control.send(orjson.dumps(answer))


def _load() -> None:
    """Import now what modalities import on first use. pyarrow is left out: it starts a thread, and a process
    with threads should not fork."""
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    from models.modalities.image import load_plugins

    load_plugins()


def _fork(control: socket.socket, channel: int, limits: Limits) -> int:
    template = os.getpid()
    child = os.fork()
    if child:
        os.close(channel)
        return child
    status = 1
    try:
        die_with(template)
        control.close()
        _quiet()
        serve(Channel(socket.socket(fileno=channel)), limits)
        status = 0
    finally:
        os._exit(status)


def _end(child: int, *, kill: bool) -> int | None:
    """How a child ended, which has a second to do so by itself unless it is to be killed; None if it is no
    child of this process."""
    deadline = time.monotonic() + (0 if kill else _GRACE_SECONDS)
    try:
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() >= deadline:
                os.kill(child, signal.SIGKILL)
                ended = os.waitpid(child, 0)
                break
            time.sleep(_POLL_SECONDS)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(ended[1])


def _quiet() -> None:
    """Native libraries print what they find wrong with a file: that is told in the answer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
