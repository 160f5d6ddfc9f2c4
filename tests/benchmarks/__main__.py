"""`python -m tests.benchmarks [NAMES...] [--quick] [--data FOLDER] [--peer NAME URL BODIES PID]...`"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from app.settings import PROJECT
from tests.benchmarks import results
from tests.benchmarks.page import page
from tests.benchmarks.registry import DATA, Peer, Setup, load
from tests.benchmarks.run import run

_KEPT = PROJECT / "docs"
_TRIED = PROJECT / "build" / "benchmarks"
_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and write; 1 when a benchmark failed (a figure that is not as asked is no failure)."""
    benchmarks = load()
    asked = _arguments(benchmarks, arguments)
    folder: Path = asked.output or (_TRIED if asked.quick else _KEPT)
    folder.mkdir(parents=True, exist_ok=True)
    peers = tuple(Peer(name, url, Path(bodies), int(pid)) for name, url, bodies, pid in asked.peer)
    setup = Setup(asked.data, asked.quick, peers)
    failed = False
    usual = [name for name, one in benchmarks.items() if not one.apart and (peers or not one.needs_peers)]
    for name in asked.names or usual:
        section = run(benchmarks[name], setup, _say)
        failed |= section.status == "failed"
        _keep(folder, section)
    _say(f"Written: {folder / 'benchmarks.md'}")
    return int(failed)


def _arguments(known: Collection[str], arguments: Sequence[str] | None) -> argparse.Namespace:
    """Leaves with a message where a name is unknown."""
    names = ", ".join(known)
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description="Measure Durian.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; default all: {names}")
    parser.add_argument("--quick", action="store_true", help="few repetitions, written to build/benchmarks")
    parser.add_argument("--data", type=Path, default=os.environ.get(DATA), help=f"test data; default ${DATA}")
    parser.add_argument(
        "--peer",
        nargs=4,
        action="append",
        default=[],
        metavar=("NAME", "URL", "BODIES", "PID"),
        help="another server for `peers`: its address, a file of JSON bodies (one a line), its process",
    )
    parser.add_argument("--output", type=Path, help="folder of benchmarks.md and .json; default docs")
    asked = parser.parse_args(arguments)
    if not set(asked.names) <= set(known):
        parser.error(f"there are the benchmarks {names}")
    return asked


def _keep(folder: Path, section: results.Section) -> None:
    """Replace the section and write both files, so that a run cut short keeps what it has."""
    kept = results.read(folder / "benchmarks.json") | {section.name: section}
    results.write(folder / "benchmarks.json", kept)
    (folder / "benchmarks.md").write_text(page(kept), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
