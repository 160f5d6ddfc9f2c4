"""The parent: starts the engine and the front-ends, starts anew what ends, and ends them in order."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.frontends.board import Board
from app.frontends.posts import DRAIN_SECONDS, Post
from app.frontends.sockets import listener, reserve

POLL_SECONDS = 0.1
HUNG_SECONDS = 20.0
"""A process that has not said for so long that it lives is killed. A load holds Python's lock for 0.2 s."""

STOP_SECONDS = 24.0
"""From the order to stop to the end of the last process, which is killed if need be."""

_STEADY_SECONDS = 10.0
_LONGEST_PAUSE = 5.0
log = logging.getLogger(__name__)


@dataclass
class Child:
    """One post and the process that holds it now."""

    post: Post
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0

    @property
    def name(self) -> str:
        return self.post.role if self.post.slot == 0 else f"{self.post.role} {self.post.slot}"

    def start(self, inherited: Sequence[int]) -> None:
        """In a session of its own: Ctrl-C reaches the supervisor alone, which then stops it in its turn."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 (our own module)
            self.post.command(), pass_fds=inherited, start_new_session=True
        )

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and not self.ended():
            self.process.send_signal(number)

    def pause(self, now: float) -> float:
        """Seconds until it is started anew: none at first, more with each start that did not last."""
        self.failures = 0 if now - self.started > _STEADY_SECONDS else self.failures + 1
        return min(_LONGEST_PAUSE, 0.1 * 2**self.failures) if self.failures > 1 else 0.0


@dataclass
class Supervisor:
    """`run` blocks until SIGTERM or SIGINT. Only its main thread may call it: children end with that."""

    board: Board
    listening: socket.socket
    engine: Child
    front_ends: list[Child]
    clock: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        for child in self.children:
            child.start(self.inherited)
        while not self.stopping.wait(POLL_SECONDS):
            for child in self.children:
                self.look_after(child)
        self.stop()

    @property
    def children(self) -> list[Child]:
        return [self.engine, *self.front_ends]

    @property
    def inherited(self) -> tuple[int, int]:
        return self.board.fd, self.listening.fileno()

    def look_after(self, child: Child) -> None:
        """Kill it if it hangs; start it anew, when its pause is over, if it has ended."""
        now = self.clock()
        if child.process is not None and child.ended():
            log.error("the %s ended with %d", child.name, child.process.returncode)
            child.due, child.process = now + child.pause(now), None
            self.board.restarted(child.post.slot)
        elif child.process is None and now >= child.due:
            child.start(self.inherited)
        elif self.board.silence(child.post.slot) > HUNG_SECONDS:
            log.error("the %s hangs; it is killed", child.name)
            child.signal(signal.SIGKILL)

    def stop(self) -> None:
        """First the front-ends, which answer what they have; then the engine."""
        end = self.clock() + STOP_SECONDS
        self._end(self.front_ends, self.clock() + DRAIN_SECONDS + 2)
        self._end([self.engine], end)

    def _end(self, children: Sequence[Child], deadline: float) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        while not all(child.ended() for child in children):
            if self.clock() > deadline:
                for child in children:
                    child.signal(signal.SIGKILL)
            time.sleep(POLL_SECONDS / 2)


def supervise(host: str, port: int, workers: int, *, worker: bool, announce: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the port. Raises Conflict where it is taken."""
    reserved = reserve(host, port)
    address = f"\0durian-{secrets.token_hex(16)}"
    board, listening = Board.make(workers + 1), listener(address)

    def child(slot: int) -> Child:
        addresses = tuple((int(s.family), s.getsockname()) for s in reserved)
        return Child(
            Post(
                slot=slot,
                slots=workers + 1,
                parent=os.getpid(),
                board=board.fd,
                line=address,
                listener=listening.fileno(),
                addresses=addresses,
                worker=worker,
            )
        )

    announce(reserved[0].getsockname()[1])
    Supervisor(board, listening, child(0), [child(slot + 1) for slot in range(workers)]).run()
