"""`python -m tests.kill [--kills 100] [--seed 1]`, and `--mutants` for every seeded fault."""

from __future__ import annotations

import argparse
import sys

from tests.kill.killer import Plan, run
from tests.kill.mutants import MUTANTS

_MUTANT_KILLS = 40
_MUTANT_SECONDS = 45.0
_MUTANT_SETTLE = 8.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no more kills after so long")
    parser.add_argument("--mutants", nargs="*", choices=[*MUTANTS, []], help="seeded faults; none named: all")
    asked = parser.parse_args()
    if asked.mutants is not None:
        return _mutants(asked.mutants or list(MUTANTS), asked.seed)
    outcome = run(Plan(asked.kills, asked.seed, seconds=asked.seconds))
    print(outcome)
    return 1 if outcome.violations else 0


def _mutants(names: list[str], seed: int) -> int:
    """Every one must be found out."""
    missed = []
    for name in names:
        plan = Plan(_MUTANT_KILLS, seed, name, settle=_MUTANT_SETTLE, seconds=_MUTANT_SECONDS)
        outcome = run(plan)
        found = outcome.violations[:1]
        print(f"{name}: {'found out: ' + found[0] if found else 'MISSED'} ({outcome.kills.total()} kills)")
        missed += [] if found else [name]
    print(f"{len(names) - len(missed)} of {len(names)} found out")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
