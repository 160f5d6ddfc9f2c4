"""Where a job's training code runs. A runner starts it as a process entry point, never by import."""

from __future__ import annotations

from typing import Any, Protocol

from models.fitspec import FitSpec
from models.recommendation import RecommendationSpec

ENTRY = "training.child"
"""The module every runner starts; it offers `main(spec_path, connection)`, `describe(connection)` and
`main_recommend(spec, connection)`."""


OOM = "oom"
DIED = "died"


class Run(Protocol):
    """One started job."""

    def messages(self, timeout: float) -> list[dict[str, Any]]:
        """What the job said since the last call, waiting up to `timeout` seconds for the first.

        Each is `{"event": {...}}`, or at the end `{"done": {...}}` or
        `{"failed": {"code": ..., "message": ...}}`.
        """
        ...

    def alive(self) -> bool: ...

    def fate(self) -> str:
        """Why it ended without a last message: OOM where it was killed for want of memory, else DIED."""
        ...

    def kill(self) -> None:
        """End the job at once and wait until it is gone."""
        ...


class Advisor(Protocol):
    """What the training side can be asked without a job."""

    def methods(self) -> list[dict[str, Any]]:
        """Every transfer method with its hyperparameter schema."""
        ...

    def recommend(self, spec: RecommendationSpec) -> Run:
        """Ask which backbone and tap suit some examples.

        Its one message is `{"recommendation": {...}}` or `{"failed": {"code": ..., "message": ...}}`.
        """
        ...


class Runner(Advisor, Protocol):
    """Starts jobs too."""

    def start(self, spec: FitSpec, spec_path: str) -> Run: ...

    def close(self) -> None: ...
