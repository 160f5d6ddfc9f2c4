"""Judges mutants in a process that may not survive it, started anew behind each mutant that ended it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from app.decoding.limits import allow
from models.errors import DurianError
from tests.mutants.changes import Seed, mutant

ROOT = Path(__file__).resolve().parents[2]
SLOW_SECONDS = 1.0
HUNG_SECONDS = 10.0
BEGUN = "begun"

Judge = Callable[[str, bytes], str | None]
"""Shows a file to what reads it: what was wrong with how it was read, if anything. Raises DurianError for one
that is refused as it should be."""


@dataclass
class Findings:
    """How many mutants were judged, and what was wrong with which."""

    judged: int = 0
    wrong: dict[int, str] = field(default_factory=dict)


def run(module: str, first: int, count: int, sabotage: str = "") -> Findings:
    """Judge mutants in a process of their own, whose program `module` calls `main`."""
    found, last = Findings(), first + count
    while first < last:
        command = [sys.executable, "-W", "ignore", "-m", module, str(first), str(last), sabotage]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        lines = [json.loads(line) for line in told.stdout.splitlines()]
        assert lines, told.stderr.decode()  # it did not even start
        verdicts = dict(lines)  # of two lines on a mutant the last one counts
        found.judged += len(verdicts)
        found.wrong |= {index: wrong for index, wrong in verdicts.items() if wrong not in (None, BEGUN)}
        first = lines[-1][0] + 1
        if lines[-1][1] == BEGUN:
            found.wrong[first - 1] = f"ended the process: {told.returncode}"
    return found


def main(
    originals: Sequence[Seed],
    judge: Judge,
    sabotages: Mapping[str, Callable[[], None]],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """One line a mutant, `[index, what is wrong or null]`; before it `[index, "begun"]`.

    Arguments: the first mutant, the one behind the last, and a fault to plant. `ready` is called when all
    that the judge needs is loaded.
    """
    first, last, sabotage = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # native libraries print too
    for name, data in originals:
        assert judge(name, data) is None, name  # the originals are sound
    if sabotage:
        sabotages[sabotage]()
    ready()
    for index in range(first, last):
        name, data = mutant(index, originals)
        _tell(out, index, BEGUN)
        allow(HUNG_SECONDS)
        wrong = timed(judge, name, data)
        allow(0)
        _tell(out, index, wrong)


def timed(judge: Judge, name: str, data: bytes) -> str | None:
    """The verdict, where another kind of exception or too much time are wrong too."""
    started = time.process_time()
    try:
        wrong = judge(name, data)
    except DurianError as error:
        wrong = "an error without a code" if error.code == "error" else None
    except Exception as error:
        return f"raised {type(error).__name__}"
    seconds = time.process_time() - started
    return f"took {seconds:.1f} s" if seconds > SLOW_SECONDS else wrong


def _tell(out: IO[str], index: int, verdict: str | None) -> None:
    out.write(json.dumps([index, verdict]) + "\n")
    out.flush()


def burn() -> None:
    """Take longer than a mutant may."""
    end = time.process_time() + 1.1 * SLOW_SECONDS
    while time.process_time() < end:
        pass
