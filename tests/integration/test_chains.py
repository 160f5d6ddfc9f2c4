"""Stages of a chain through the service: a job whose model is one's own goes on from it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Job, png

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
