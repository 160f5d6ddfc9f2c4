"""The service under SIGKILL: a few kills in every run; `make kill` has a hundred, `make soak` a thousand."""

from __future__ import annotations

import pytest

from tests.kill.killer import Plan, run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_few_kills_lose_nothing_double_nothing_and_leave_nothing() -> None:
    outcome = run(Plan(kills=5, seed=3, pause=0.15, clients=2, ready=60.0))
    assert outcome.violations == [], str(outcome)
    assert outcome.kills.total() >= 5
    assert outcome.acks > 0
