"""The parent of the processes: what ends is started anew, what hangs is killed, all end in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.frontends import supervisor as module
from app.frontends.board import Board
from app.frontends.posts import Post
from app.frontends.sockets import reserve, shared
from app.frontends.supervisor import Child, Supervisor
from models.errors import Conflict

SLEEP = "import time; time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"


class Told(Post):
    """A post that runs some Python."""

    program = SLEEP

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.program]


def child(slot: int, program: str = SLEEP) -> Child:
    post = Told(slot, 3, 0, 0, "", 0, (), False)
    object.__setattr__(post, "program", program)
    return Child(post)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with socket.socket() as listening:
        made = Supervisor(Board.make(3), listening, child(0), [child(1), child(2)])
        yield made
        for one in made.children:
            one.signal(signal.SIGKILL)
            if one.process is not None:
                one.process.wait()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def started(supervisor: Supervisor) -> list[subprocess.Popen[bytes]]:
    for one in supervisor.children:
        one.start(())
    return [one.process for one in supervisor.children if one.process is not None]


def test_what_ends_is_started_anew_and_counted(supervisor: Supervisor) -> None:
    engine, first, second = started(supervisor)
    second.kill()
    until(supervisor.front_ends[1].ended)
    for _ in range(2):
        for one in supervisor.children:
            supervisor.look_after(one)
    again = supervisor.front_ends[1].process
    assert again is not None
    assert again.pid != second.pid
    assert [p.poll() for p in (engine, first, again)] == [None, None, None]
    assert supervisor.board.restarts() == {"engine": 0, "front-end": 1}


def test_starts_that_do_not_last_come_ever_slower_and_lasting_ones_at_once() -> None:
    broken = child(0)
    assert [broken.pause(broken.started) for _ in range(9)] == [0, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5]
    assert broken.pause(broken.started + 60) == 0


def test_what_hangs_is_killed(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, *_ = started(supervisor)
    supervisor.look_after(supervisor.engine)  # no beat yet: it is still starting
    supervisor.board.beat()
    monkeypatch.setattr(module, "HUNG_SECONDS", 0.05)
    supervisor.look_after(supervisor.engine)
    assert engine.poll() is None
    time.sleep(0.06)
    supervisor.look_after(supervisor.engine)
    assert engine.wait(10) == -signal.SIGKILL


def test_the_engine_ends_after_the_front_ends_and_the_deaf_are_killed(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor.front_ends[0] = child(1, DEAF)
    engine, deaf, other = started(supervisor)
    time.sleep(0.3)  # until it is deaf
    monkeypatch.setattr(module, "DRAIN_SECONDS", -1.5)
    ended: list[str] = []
    end = Supervisor._end

    def noted(self: Supervisor, children: list[Child], deadline: float) -> None:
        assert engine.poll() is None
        end(self, children, deadline)
        ended.extend(one.name for one in children)

    monkeypatch.setattr(Supervisor, "_end", noted)
    supervisor.stop()
    assert ended == ["front-end 1", "front-end 2", "engine"]
    assert deaf.returncode == -signal.SIGKILL
    assert (other.returncode, engine.returncode) == (-signal.SIGTERM, -signal.SIGTERM)


def test_a_board_is_one_for_all_who_have_its_descriptor() -> None:
    engine = Board.make(3)
    front = Board.of(engine.fd, 3, own=2)
    assert engine.newest() == 0
    front.tell(7)
    engine.tell(5)
    assert (engine.newest(), front.newest()) == (7, 7)
    assert engine.silence(2) == 0.0
    front.beat()
    assert 0 < engine.silence(2) < 5


def test_a_port_is_reserved_shared_and_refused_to_others() -> None:
    (reserved,) = reserve("127.0.0.1", 0)
    place = reserved.getsockname()
    with reserved, shared(socket.AF_INET, place) as front:
        front.listen()
        with socket.create_connection(place, 5), pytest.raises(Conflict, match="in use"):
            reserve("127.0.0.1", place[1])
    with pytest.raises(Conflict, match="cannot be served on"):
        reserve("no such host", 0)
    for one in reserve("localhost", 0):
        one.close()
