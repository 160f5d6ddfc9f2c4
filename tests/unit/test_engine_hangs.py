"""A graph that does not end: its callers are told in time, and the engine says that it hangs."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.engine.engine import Engine
from models.errors import DeadlineExceeded
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest


def test_a_graph_that_hangs_is_answered_for_and_named() -> None:
    trunk = FakeTrunk(card())
    shelf = FakeShelf(trunk)
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open, max_seconds=0.2)
    model = loaded(manifest(trunk.card))
    engine.predict_sync(model, [b"text"])
    assert engine.degraded() == []
    trunk.gate.clear()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        asyncio.run(engine.predict(model, [b"text"]))
    assert time.monotonic() - started < 5.0
    time.sleep(0.1)
    assert engine.degraded() == ["inference_hangs"]
    trunk.gate.set()
    engine.predict_sync(model, [b"text"])
    assert engine.degraded() == []
    engine.close()
