"""Starts a service, a worker and clients, kills by a seed, starts anew what it killed, and judges."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.kill.load import Acks, Client
from tests.kill.verdict import verdict
from tests.ports import free_port

LEASE_SECONDS = 1.0
READY_SECONDS = 10.0
SETTLE_SECONDS = 60.0
_START_SECONDS = 120.0
_GONE_SECONDS = 30.0
PLANTED = ("blobs/aa/.tmp-planted", "work/ftjob-planted-1/output/head.onnx")


@dataclass(frozen=True)
class Plan:
    """`settle` bounds the seconds from the last kill to the end of the last job, `ready` those from a start
    to the first answer."""

    kills: int
    seed: int = 0
    mutant: str | None = None
    clients: int = 2
    settle: float = SETTLE_SECONDS
    ready: float = READY_SECONDS
    pause: float = 0.4
    seconds: float = float("inf")


@dataclass
class Outcome:
    """`violations` is empty when every invariant held."""

    violations: list[str]
    kills: Counter[str] = field(default_factory=Counter)
    acks: int = 0
    predictions: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    ready: list[float] = field(default_factory=list)
    settled: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        kills = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kills.items()))
        slowest = max(self.ready, default=0.0)
        lines = [
            f"{self.kills.total()} kills ({kills}) in {self.seconds:.0f} s; {self.acks} acknowledgements, "
            f"{self.predictions} predictions; jobs: {dict(self.jobs)}; ready again within {slowest:.1f} s; "
            f"all ended {self.settled:.1f} s after the last kill",
            *(f"VIOLATION {line}" for line in self.violations[:20]),
            f"{len(self.violations)} violations",
        ]
        return "\n".join(lines)


class Zygote:
    """The process that has imported the service."""

    def __init__(self, mutant: str | None, log: Path) -> None:
        command = [sys.executable, "-m", "tests.kill.zygote", *([mutant] if mutant else [])]
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self._line() == "ready"

    def start(self, **request: Any) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


class Killer:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.data = folder / "data"
        self.folder = folder
        self.random = random.Random(plan.seed)
        self.outcome = Outcome([])
        self.pids: dict[str, int] = {}
        self.zombies: list[tuple[float, int]] = []
        self.port = free_port()
        self.zygote = Zygote(plan.mutant, folder / "zygote.log")

    def start(self, role: str) -> None:
        env = {
            "DURIAN_DATA": str(self.data),
            "DURIAN_LANES": "1",
            "DURIAN_LEASE_SECONDS": str(LEASE_SECONDS),
            "DURIAN_RETRY_SECONDS": "0.1",
            "DURIAN_MAX_ATTEMPTS": "1000",
        }
        log = str(self.folder / f"{role}.log")
        self.pids[role] = self.zygote.start(role=role, port=self.port, env=env, log=log)

    def wait_ready(self, seconds: float) -> None:
        """Until the service answers; more than the plan allows is a violation."""
        started = time.monotonic()
        while not self._is_ready():
            if time.monotonic() - started > seconds:
                with_pid(self.pids["service"], signal.SIGUSR1)  # says where it is
                break
            time.sleep(0.02)
        took = time.monotonic() - started
        self.outcome.ready.append(took)
        if took > seconds:
            self.outcome.violations.append(f"ready only after {took:.1f} s, or not at all")

    def _is_ready(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/v2/health/ready"
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def run(self) -> Outcome:
        """Everything, in order."""
        self.start("service")
        self.wait_ready(_START_SECONDS)
        self.outcome.ready.clear()
        self.start("worker")
        acks, stop = Acks(self.folder / "acks"), threading.Event()
        clients = [
            Client(self.port, acks, self.plan.seed * 1_000 + i, stop) for i in range(self.plan.clients)
        ]
        with observing(self.data, self.folder / "seen"):
            started = time.monotonic()
            for client in clients:
                client.start()
            while self.outcome.kills.total() < self.plan.kills and self._in_time(started):
                if self.plan.mutant and (self.outcome.violations or any(c.unclean for c in clients)):
                    break
                time.sleep(self.random.random() * 2 * self.plan.pause)
                self.kill(self.random.random())
            self.outcome.seconds = time.monotonic() - started
            stop.set()
            for client in clients:
                client.join()
            self._settle()
            self._last_start()
        self.outcome.violations += [line for client in clients for line in client.unclean]
        self.outcome.violations += verdict(self.data, self.folder / "acks", self.folder / "seen")
        self.outcome.acks = acks.count
        self.outcome.predictions = sum(client.predictions for client in clients)
        return self.outcome

    def _in_time(self, started: float) -> bool:
        return time.monotonic() - started < self.plan.seconds

    def kill(self, draw: float) -> None:
        """One fault: of the service, the worker, its child, or a worker that is lost and comes back."""
        self._end_zombies()
        if draw < 0.3:
            self._restart("service")
            self.wait_ready(self.plan.ready)
        elif draw < 0.5:
            self._restart("worker")
        elif draw < 0.6:
            self._lose_worker()
        else:
            self._kill_child()

    def _restart(self, role: str) -> None:
        if not Path(f"/proc/{self.pids[role]}").exists():
            self.outcome.violations.append(f"the {role} ended by itself")
        with_pid(self.pids[role], signal.SIGKILL)
        self.outcome.kills[role] += 1
        self.start(role)

    def _kill_child(self) -> None:
        child = self._child(2.0)
        if child is not None:
            with_pid(child, signal.SIGKILL)
            self.outcome.kills["child"] += 1

    def _lose_worker(self) -> None:
        """It stops for longer than its lease while another works, goes on for a while, and is killed."""
        self._child(2.0)
        with_pid(self.pids["worker"], signal.SIGSTOP)
        stopped = self.pids["worker"]
        self.start("worker")
        time.sleep(2.5 * LEASE_SECONDS)
        with_pid(stopped, signal.SIGCONT)
        self.zombies.append((time.monotonic() + 1.5, stopped))

    def _end_zombies(self, *, all_of_them: bool = False) -> None:
        for due, pid in list(self.zombies):
            if all_of_them or time.monotonic() > due:
                with_pid(pid, signal.SIGKILL)
                self.zombies.remove((due, pid))
                self.outcome.kills["lost worker"] += 1

    def _child(self, seconds: float) -> int | None:
        """A job's process, as soon as there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pid in jobs(self.pids["worker"]):
                return pid
            time.sleep(0.005)
        return None

    def _settle(self) -> None:
        """Wait for the end of all jobs, with no more kills."""
        self._end_zombies(all_of_them=True)
        started = time.monotonic()
        while (left := self._running()) and time.monotonic() - started < self.plan.settle:
            time.sleep(0.1)
        self.outcome.settled = time.monotonic() - started
        if left:
            self.outcome.violations.append(f"{left} jobs have not ended after {self.plan.settle:.0f} s")

    def _running(self) -> int:
        url = f"http://127.0.0.1:{self.port}/v1/fine_tuning/jobs?limit=1000"
        try:
            jobs = httpx.get(url, timeout=15, trust_env=False).json()["data"]
        except (httpx.HTTPError, KeyError):
            return -1
        self.outcome.jobs = Counter(job["status"] for job in jobs)
        return sum(job["status"] not in ("succeeded", "failed", "cancelled") for job in jobs)

    def _last_start(self) -> None:
        """Kill both, leave what a crash leaves, start once more, and stop: nothing may be left over."""
        dying = [*self.pids.values(), *(child for pid in self.pids.values() for child in descendants(pid))]
        for role in ("service", "worker"):
            with_pid(self.pids[role], signal.SIGKILL)
        wait_gone(dying, _GONE_SECONDS)  # until then the next one to start is not the first on the folder
        for name in PLANTED:
            (self.data / name).parent.mkdir(parents=True, exist_ok=True)
            (self.data / name).write_bytes(b"half")
        self.start("service")
        self.wait_ready(self.plan.ready)
        with_pid(self.pids["service"], signal.SIGKILL)

    def close(self) -> None:
        for pid in (*self.pids.values(), *(pid for _, pid in self.zombies)):
            with_pid(pid, signal.SIGKILL)
        self.zygote.close()


def with_pid(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_gone(pids: list[int], seconds: float) -> None:
    """Until the kernel has closed what they had open."""
    deadline = time.monotonic() + seconds
    while any(lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether it may still hold files: a zombie holds none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            if task.name != str(pid)
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []


def jobs(worker: int) -> list[int]:
    """What the worker's forkserver has forked."""
    return [job for helper in children(worker) for job in children(helper)]


def descendants(pid: int) -> list[int]:
    return [below for child in children(pid) for below in (child, *descendants(child))]


@contextmanager
def observing(data: Path, report: Path) -> Iterator[None]:
    """The observer's process, beside everything that happens here."""
    report.touch()
    process = subprocess.Popen([sys.executable, "-m", "tests.kill.observer", str(data), str(report)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(plan: Plan) -> Outcome:
    """A run in a folder of its own, which stays where something was violated."""
    folder = Path(tempfile.mkdtemp(prefix="durian-kill-"))
    killer = Killer(plan, folder)
    try:
        return killer.run()
    finally:
        killer.close()
        if plan.mutant or not killer.outcome.violations:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"kept: {folder}", file=sys.stderr)
