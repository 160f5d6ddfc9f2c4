"""Run one benchmark to a section, whatever becomes of it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.client import ClientError
from tests.benchmarks.machine import load, this_machine
from tests.benchmarks.registry import Benchmark, Broken, Setup, Skipped
from tests.benchmarks.results import Row, Section

Say = Callable[[str], None]


def run(benchmark: Benchmark, setup: Setup, say: Say) -> Section:
    """Measure, saying each row as it comes. A benchmark that breaks gives a failed section, no exception."""
    say(f"{benchmark.name}: {benchmark.title}")
    before, clock = load(), time.monotonic()
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows: list[Row] = []
    ending = _measure(benchmark, setup, say, rows)
    say(f"  {ending['status']} {ending['reason']}".rstrip())
    return Section(
        name=benchmark.name,
        title=benchmark.title,
        about=benchmark.about,
        command=benchmark.command,
        rows=tuple(rows),
        started=started,
        quick=setup.quick,
        seconds=round(time.monotonic() - clock, 1),
        load=(before, load()),
        machine=this_machine(),
        **ending,
    )


def _measure(benchmark: Benchmark, setup: Setup, say: Say, rows: list[Row]) -> dict[str, Any]:
    """Fill `rows`; say how it ended. A strange exception's text stays off the page: it may hold a path."""
    try:
        for row in benchmark.measure(setup):
            rows.append(row)
            say(f"  {line(row)}")
    except Skipped as why:
        return {"status": "skipped", "reason": str(why)}
    except (Broken, ClientError) as error:
        return {"status": "failed", "reason": str(error)}
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return {"status": "failed", "reason": f"{type(error).__name__}, see the output of the run."}
    return {"status": "measured", "reason": ""}


def line(row: Row) -> str:
    """A row for the terminal."""
    verdict = {True: f"  asked {row.asked}: met", False: f"  asked {row.asked}: MISSED", None: ""}[row.met]
    return f"{row.what}: {row.measured}{verdict}" + (f"  ({row.how})" if row.how else "")
