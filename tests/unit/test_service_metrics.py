"""The text that Prometheus reads: every series once, whatever is loaded, unloaded or replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from app.db.database import Database
from app.engine.engine import BackboneStats, EngineStats
from app.engine.memory import Use
from app.engine.stats import Counters
from app.services.metrics import Metrics
from app.services.requests import Requests


def rendered(folder: Path, stats: EngineStats) -> list[str]:
    db = Database(f"sqlite:///{folder / 'durian.sqlite'}")
    db.migrate()
    try:
        engine = SimpleNamespace(stats=lambda: stats)
        metrics = Metrics(engine, db, folder / "features", Requests(), lambda: ["database"])
        text = metrics.render().decode()
    finally:
        db.close()
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("budget", [None, 4096])
def test_memory_and_backbones(tmp_path: Path, budget: int | None) -> None:
    replaced = BackboneStats("text/a", "1" * 64, Counters(inferences=5, executions=2))
    new = BackboneStats("text/a", "2" * 64, Counters(inferences=3, executions=1))
    memory = (Use("backbone", 1, 4000, 7), Use("head", 2, 90, 11))
    lines = rendered(tmp_path, EngineStats("cpu", 2, 0, 0, budget, memory, (replaced, new)))
    assert [line for line in lines if "text/a" in line] == [
        'durian_inputs_total{backbone="text/a"} 8.0',
        'durian_batches_total{backbone="text/a"} 3.0',
    ]
    assert [line for line in lines if "kind=" in line] == [
        'durian_loaded{kind="backbone"} 1.0',
        'durian_loaded{kind="head"} 2.0',
        'durian_loaded_bytes{kind="backbone"} 4000.0',
        'durian_loaded_bytes{kind="head"} 90.0',
        'durian_evictions_total{kind="backbone"} 7.0',
        'durian_evictions_total{kind="head"} 11.0',
    ]
    assert ("durian_memory_budget_bytes 4096.0" in lines) == (budget is not None)
