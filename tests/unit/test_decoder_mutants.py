"""26,000 seeded mutants of every format: read or refused by an error of ours, in a second, in one process."""

from __future__ import annotations

import pytest

from tests.mutants.changes import mutant
from tests.mutants.files import SABOTAGE, SPOILT, seeds
from tests.mutants.harness import Findings, run

FILES = "tests.mutants.files"
DEFAULT, ALL = 3_000, 26_000
FAULTS = {
    "leak": "raised ",
    "crash": "ended the process: -11",
    "dawdle": "took ",
    "spoil": SPOILT,
}


def test_no_mutant_does_more_than_be_refused() -> None:
    assert run(FILES, 0, DEFAULT) == Findings(DEFAULT)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_nor_does_any_of_a_whole_run() -> None:
    assert run(FILES, DEFAULT, ALL - DEFAULT) == Findings(ALL - DEFAULT)


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_the_harness_finds_a_fault_of_ours(sabotage: str) -> None:
    found = run(FILES, 0, 250, sabotage)
    assert found.judged == 250
    assert found.wrong
    assert all(wrong.startswith(FAULTS[sabotage]) for wrong in found.wrong.values())


def test_mutants_are_the_same_in_every_run_and_are_of_every_format() -> None:
    originals = seeds()
    assert originals == seeds()
    changed = [mutant(index, originals) for index in range(4 * len(originals))]
    assert changed == [mutant(index, originals) for index in range(4 * len(originals))]
    assert {data for _, data in changed}.isdisjoint(data for _, data in originals)
    assert {name.rpartition(".")[2] for name, _ in originals} == {"", "jsonl", "csv", "npz", "zip", "parquet"}
