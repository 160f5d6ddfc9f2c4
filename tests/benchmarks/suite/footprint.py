"""How soon the service is ready, and how much memory it holds when idle."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from statistics import median

import psutil

from app.demo.service import temporary_service
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, cpu_seconds, megabytes, processes, spread

_SETTLE_SECONDS = 2.0
_ASKED_MB = 450.0


@benchmark("Footprint: start and memory")
def footprint(setup: Setup) -> Iterator[Row]:
    """A service with an empty data folder (so that a start also makes the database), its backbones set up.
    Memory is that of the service and its forkserver, two seconds after one embedding by MiniLM. PSS shares
    a page among the processes that map it; the sum of RSS counts it for each.
    """
    # Users' services start from compiled modules; the first start here may have to write them.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    _start()
    starts = [_start() for _ in range(setup.amount(5, 2))]
    seconds, cpu = zip(*starts, strict=True)
    how = f"median of process start to ready, after one start that is not counted; {spread(seconds, 2)}"
    yield Row(what="start to ready", value=median(seconds), unit="s", digits=2, at_most=3.0, how=how)
    how = f"median; what a quiet machine would not save; {spread(cpu, 2)}"
    yield Row(what="CPU time of a start", value=median(cpu), unit="s", digits=2, how=how)
    with temporary_service() as client:
        client.embeddings(MINILM, "one durian")
        time.sleep(_SETTLE_SECONDS)
        yield from _memory(processes())


def _start() -> tuple[float, float]:
    """Seconds until it is ready, and the CPU seconds that its processes used by then."""
    started = time.perf_counter()
    with temporary_service():
        return time.perf_counter() - started, cpu_seconds(processes())


def _memory(tree: list[psutil.Process]) -> Iterator[Row]:
    pss = [megabytes(process, "smaps_rollup", "Pss") for process in tree]
    rss = [megabytes(process, "smaps_rollup", "Rss") for process in tree]
    peaks = [megabytes(process, "status", "VmHWM") for process in tree]
    parts = "service " + ", others ".join(f"{value:.0f}" for value in (pss[0], sum(pss[1:])))
    how = f"sum over {len(tree)} processes: {parts}"
    yield Row(what="memory, PSS", value=sum(pss), unit="MB", digits=0, at_most=_ASKED_MB, how=how)
    shared = "the same, shared pages counted in each"
    yield Row(what="memory, RSS", value=sum(rss), unit="MB", digits=0, how=shared)
    how = "VmHWM of the service process since its start"
    yield Row(what="peak, service", value=peaks[0], unit="MB", digits=0, at_most=_ASKED_MB, how=how)
    yield Row(what="peak, all processes", value=sum(peaks), unit="MB", digits=0, how=shared)
