"""`python -m training fit SPEC.json` replays a job from its FitSpec alone; `methods` lists the methods."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import orjson

from training.catalogue import catalogue
from training.child import run


class _Lines:
    """Writes each message as a line of JSON; remembers whether the job failed."""

    failed = False

    def send(self, message: dict[str, Any]) -> None:
        self.failed = self.failed or "failed" in message
        sys.stdout.write(orjson.dumps(message).decode() + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Standard output stays open."""


def main(arguments: list[str] | None = None) -> int:
    """0 when the job succeeded, 1 when it failed."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fit", help="run a job").add_argument("spec", type=Path, help="its FitSpec, JSON")
    commands.add_parser("methods", help="list the transfer methods")
    parsed = parser.parse_args(arguments)
    lines = _Lines()
    if parsed.command == "methods":
        for method in catalogue():
            lines.send(method)
        return 0
    run(str(parsed.spec), lines)
    return int(lines.failed)


if __name__ == "__main__":
    sys.exit(main())
