"""A model with blocks of its own, from examples to predictions over both protocols."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import Job, png

pytest.importorskip("torch", reason="training below the top needs torch")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i in range(12):
            file.writestr(f"{'bright' if i % 2 else 'dark'}/{i}.png", png(40 + 150 * (i % 2), i))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def method() -> dict[str, Any]:
    given = {"steps": 4, "folds": 2, "blocks": 1}
    return {"type": "finetune", "finetune": {"hyperparameters": given}}


def test_a_fine_tuned_tail_is_served(
    client: TestClient, fit: Callable[..., Job], method: dict[str, Any]
) -> None:
    job = fit("shades.zip", archive(), model="image/durian-small", method=method, suffix="tail")
    assert job["status"] == "succeeded", job
    assert job["result"]["hyperparameters"]["steps"] == 4
    image = base64.b64encode(png(200, 99)).decode()
    body = {"model": "tail", "input": [image, image], "return_embedding": True}
    answer = client.post("/v1/predictions", json=body).json()
    assert [row["label"] for row in answer["data"]] == ["bright", "bright"]
    assert len(answer["data"][0]["embedding"]) > 8
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}
    found = client.post("/v2/models/tail/infer", json={"inputs": [tensor]}).json()
    assert {output["name"] for output in found["outputs"]} >= {"label", "scores"}


def test_what_does_not_fit_is_refused_before_the_queue(
    client: TestClient, upload: Callable[..., Any]
) -> None:
    file = upload("shades.zip", archive()).json()["id"]
    for given in ({"time_budget_s": 0}, {"steps": 0}, {"nonsense": 1}):
        method = {"type": "finetune", "finetune": {"hyperparameters": given}}
        body = {"model": "image/durian-small", "training_file": file, "method": method}
        refused = client.post("/v1/fine_tuning/jobs", json=body)
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["code"] == "bad_hyperparameters"


def test_training_that_diverges_ends_as_failed(client: TestClient, fit: Callable[..., Job]) -> None:
    given = {"steps": 30, "folds": 2, "learning_rate": 1.0, "head_rate": 1.0, "weight_decay": 1.0}
    method = {"type": "finetune", "finetune": {"hyperparameters": given}}
    job = fit("shades.zip", archive(), model="image/durian-small", method=method, suffix="wild")
    assert job["status"] in ("failed", "succeeded")
    if job["status"] == "failed":
        assert job["error"]["code"] == "non_finite"
