"""How the service hears the training side's one answer, or does not."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import recommendations
from models.errors import DeadlineExceeded, DurianError, InvalidInput, JobFailed
from models.recommendation import Recommendation, TransferSetting

FOUND = Recommendation(
    setting=TransferSetting(name="few-shot", why="So."), candidates=(), examples=4, seconds=0.1
)


class FakeRun:
    """Says its messages, one call each, and is alive while it has some (or for ever)."""

    def __init__(self, *messages: dict[str, Any] | None, immortal: bool = False) -> None:
        self.left = list(messages)
        self.immortal = immortal
        self.killed = False

    def messages(self, timeout: float) -> list[dict[str, Any]]:
        message = self.left.pop(0) if self.left else None
        return [] if message is None else [message]

    def alive(self) -> bool:
        return self.immortal or bool(self.left)

    def kill(self) -> None:
        self.killed = True


def test_the_answer_comes_when_it_comes() -> None:
    run = FakeRun(None, None, {"recommendation": FOUND.model_dump(mode="json")})
    assert recommendations._answer(run) == FOUND
    assert run.killed


@pytest.mark.parametrize(
    ("code", "error"), [("non_finite", InvalidInput), ("data_gone", InvalidInput), ("internal", JobFailed)]
)
def test_what_failed_is_the_examples_fault_or_ours(code: str, error: type[DurianError]) -> None:
    run = FakeRun({"failed": {"code": code, "message": "Because."}})
    with pytest.raises(error, match="Because") as caught:
        recommendations._answer(run)
    assert caught.value.code == code
    assert run.killed


def test_a_child_that_dies_or_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobFailed) as died:
        recommendations._answer(FakeRun())
    assert died.value.code == "process_died"
    monkeypatch.setattr(recommendations, "SECONDS", 0.01)
    slow = FakeRun(immortal=True)
    with pytest.raises(DeadlineExceeded, match="are kept"):
        recommendations._answer(slow)
    assert slow.killed
