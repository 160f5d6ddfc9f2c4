"""Stages of a chain through the service: a job whose model is one's own goes on from it."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import Job, jsonl, png

pytest.importorskip("torch", reason="training below the top needs torch")

SMALL = {"steps": 3, "folds": 2, "blocks": 1}


def shades(first: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i in range(first, first + 12):
            file.writestr(f"{'bright' if i % 2 else 'dark'}/{i}.png", png(40 + 150 * (i % 2), i))
    return buffer.getvalue()


def method(name: str, **given: Any) -> dict[str, Any]:
    return {"type": name, name: {"hyperparameters": {**SMALL, **given}}}


def test_each_stage_goes_on_from_the_last(fit: Callable[..., Job]) -> None:
    lower = method("finetune", blocks=2)
    first = fit("sim.zip", shades(0), model="image/durian-small", method=lower, suffix="simulated")
    varied = method("finetune", augment="light")
    second = fit("aug.zip", shades(20), model="simulated", method=varied, suffix="augmented")
    third = fit("real.zip", shades(40), model="augmented", method=method("output_kl"), suffix="measured")
    for job in (first, second, third):
        assert job["status"] == "succeeded", job
    # The blocks that the first stage changed stay part of the model, though later stages train fewer.
    assert first["result"]["tap"] == second["result"]["tap"] == third["result"]["tap"]
    assert second["result"]["hyperparameters"]["augment"] == "light"
    assert third["result"]["hyperparameters"]["rho"] == 0.3


def test_auto_is_a_value_like_any_other(fit: Callable[..., Job]) -> None:
    given = method("finetune", blocks="auto")
    job = fit("auto.zip", shades(60), model="image/durian-small", method=given, suffix="auto-value")
    assert job["status"] == "succeeded", job
    assert job["result"]["hyperparameters"]["blocks"] == 1


def test_new_classes_on_what_a_stage_has_learnt(client: TestClient, fit: Callable[..., Job]) -> None:
    """Fine-tuned on one thing, then one example each of another, by a method that only fits heads."""
    first = fit("sim.zip", shades(80), model="image/durian-small", method=method("finetune"), suffix="drawn")
    assert first["status"] == "succeeded", first
    rows = [
        {"input": base64.b64encode(png(shade, 7)).decode(), "label": f"grey-{shade}"} for shade in (30, 220)
    ]
    for name in ("siamese", "prototypes"):
        job = fit("one.jsonl", jsonl(rows), model="drawn", method={"type": name}, suffix=f"new-{name}")
        assert job["status"] == "succeeded", job
        assert job["result"]["tap"] == first["result"]["tap"]
        body = {"model": f"new-{name}", "input": [row["input"] for row in rows], "return_embedding": True}
        data = client.post("/v1/predictions", json=body).json()["data"]
        assert [row["label"] for row in data] == ["grey-30", "grey-220"]
        before = client.post("/v1/predictions", json={**body, "model": "drawn"}).json()["data"]
        assert data[0]["embedding"] == pytest.approx(before[0]["embedding"], rel=1e-4, abs=1e-5)
