"""The service's end of the template: has children forked, and hears how they ended."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from app.decoding.channel import Channel
from app.decoding.child import LEAVES
from app.decoding.limits import Limits
from app.frames import Frame
from models.errors import Unavailable

TEMPLATE = "app.decoding.template"
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # A picture's memory stays with the child for the next one, instead of being zeroed anew each time.
    "MALLOC_MMAP_THRESHOLD_": str(8 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024),
}
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Child:
    """A process that decodes, and the way to it. `leaves` once it has said that it ends."""

    pid: int
    channel: Channel
    leaves: bool = False

    def reply(self, seconds: float) -> Frame:
        """What it says next. Raises EOFError when it has ended, TimeoutError after so much silence."""
        reply = self.channel.receive(seconds)
        if reply is None:
            raise EOFError
        self.leaves = reply.header.get(LEAVES, False)
        return reply


class Nursery:
    """Starts the template on first use, and again should it end. Thread-safe. `module` is its program."""

    def __init__(self, module: str = TEMPLATE) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        atexit.register(self.close)

    def fork(self, limits: Limits) -> Child:
        """A fresh child. Raises Unavailable when there is no template to be had."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = self._order({"fork": asdict(limits)}, theirs)
            except OSError:
                ours.close()
                log.exception("no process to decode in")
                raise Unavailable("Nothing can be decoded just now; try again.", code="no_decoder") from None
        return Child(int(pid), Channel(ours))

    def warm(self) -> None:
        """Start the template now, that nobody has to wait for it."""
        with self._lock:
            if self._control is None:
                self._start()

    def end(self, child: Child, *, kill: bool) -> int | None:
        """Wait for a child that is ending, or kill it: its exit code, negative for a signal; None if nobody
        knows."""
        child.channel.close()
        try:
            status: int | None = self._order({"end": child.pid, "kill": kill}, again=False)
        except OSError:
            return None
        return status

    def close(self) -> None:
        with self._lock:
            self._end()

    def _order(self, order: dict[str, Any], sent: socket.socket | None = None, *, again: bool = True) -> Any:
        """The template's answer; a template that has ended is started anew, once, if `again`."""
        with self._lock:
            for attempt in range(2 if again else 1):
                control = self._control or (self._start() if again else None)
                if control is None:
                    break
                try:
                    fds = [] if sent is None else [sent.fileno()]
                    socket.send_fds(control, [orjson.dumps(order)], fds)
                    if answer := control.recv(64):
                        return orjson.loads(answer)
                except OSError:
                    if attempt:
                        raise
                self._end()
        raise ConnectionError("the template is gone")

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", self._module, str(theirs.fileno())],
                env=os.environ | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._control = ours
        return ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


NURSERY = Nursery()
"""That of this process: however many pools there are, the libraries are loaded once beside it."""
