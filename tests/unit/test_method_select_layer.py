"""The tap that suits the examples is found, wherever it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.base import TaskName
from models.events import Event
from tests.training_support import Bench, blobs, names_of
from training import fit

TAPS = ("low", "middle", "top")


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
@pytest.mark.parametrize("where", TAPS)
def test_the_tap_that_tells_the_classes_apart_is_kept(tmp_path: Path, task: TaskName, where: str) -> None:
    bench = Bench(tmp_path)
    problem = blobs(task)
    backbone = bench.backbone(taps=TAPS)
    spec = bench.spec(task, names_of(problem), problem.X, backbones=(backbone,), method="select_layer")
    pack = bench.pack("train", task, names_of(problem))[2]
    rng = np.random.default_rng(3)
    for tap in TAPS:
        noise = rng.normal(size=problem.X.shape).astype(np.float32)
        bench.cache.put(backbone.digest, f"{tap}", pack.digests, problem.X if tap == where else noise)
    if where != "top":  # the bench has put the examples there
        spec = spec.model_copy(update={"backbones": (backbone.model_copy(update={"taps": TAPS[:2]}),)})
    outcome = fit.run(spec, lambda event: None)
    assert outcome.manifest.tap == where
    assert outcome.report.method == "select_layer"
    assert [c.tap for c in outcome.report.candidates if c.chosen] == [where]


def test_progress_never_falls(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    problem = blobs("classification")
    events: list[Event] = []
    fit.run(bench.spec("classification", names_of(problem), problem.X, method="select_layer"), events.append)
    progress = [event.data["progress"] for event in events if "progress" in event.data]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
