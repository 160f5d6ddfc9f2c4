"""What routes ask of an engine, whether it is in this process or in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app.engine.engine import EngineStats
from app.engine.model import LoadedModel, Prediction
from app.engine.providers import Device
from app.engine.queue import DEFAULT
from models.runtime import Features


class Predictor(Protocol):
    """`app.engine.engine.Engine` is one, and says what each part means and raises."""

    async def predict(
        self,
        model: LoadedModel,
        contents: Sequence[bytes],
        *,
        embedding: bool = False,
        unknown: bool = False,
        deadline: float | None = None,
        priority: int = DEFAULT,
    ) -> Prediction: ...

    async def embed(
        self,
        backbone_id: str,
        contents: Sequence[bytes],
        *,
        tap: str | None = None,
        tenant: str = "",
        deadline: float | None = None,
        priority: int = DEFAULT,
    ) -> Features: ...

    def stats(self) -> EngineStats: ...

    @property
    def device(self) -> Device: ...

    @property
    def closing(self) -> bool: ...
