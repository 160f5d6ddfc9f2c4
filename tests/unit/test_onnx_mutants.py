"""3,000 seeded mutants of ONNX files on their way to a backbone: none ends the process that parses it, and
each is refused by an error of ours or tried where it can do no harm."""

from __future__ import annotations

import pytest

from tests.mutants.harness import Findings, run
from tests.mutants.models import SABOTAGE

MODELS = "tests.mutants.models"
DEFAULT, ALL = 400, 3_000
FAULTS = {"leak": "raised ", "crash": "ended the process: -11"}


def test_no_mutant_does_more_than_be_refused() -> None:
    assert run(MODELS, 0, DEFAULT) == Findings(DEFAULT)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_nor_does_any_of_a_whole_run() -> None:
    assert run(MODELS, DEFAULT, ALL - DEFAULT) == Findings(ALL - DEFAULT)


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_the_harness_finds_a_fault_of_ours(sabotage: str) -> None:
    found = run(MODELS, 0, 30, sabotage)
    assert found.judged == 30
    assert found.wrong
    assert all(wrong.startswith(FAULTS[sabotage]) for wrong in found.wrong.values())
