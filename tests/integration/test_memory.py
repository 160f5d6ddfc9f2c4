"""A whole service with next to no memory: everything is unloaded all the time, and nobody notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.runners.inline import InlineRunner
from app.settings import Settings
from tests.support import finished, jsonl, signal

SIGNALS = [
    {"input": signal(kind, seed), "label": ["slow", "fast"][kind]} for kind in (0, 1) for seed in range(8)
]
ASKED = {"signal/raw": [signal(1, 99), signal(0, 98)], "signal/durian-small": [signal(0, 97)]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("small")
    settings = Settings(data=folder, lanes=1, lease_seconds=60, memory_budget=1, pinned=("signal/raw",))
    with TestClient(create_app(settings, runner=InlineRunner())) as client:
        yield client


def fit(client: TestClient, backbone: str, name: str) -> None:
    file = client.post(
        "/v1/files", files={"file": ("s.jsonl", jsonl(SIGNALS))}, data={"purpose": "fine-tune"}
    )
    body = {"model": backbone, "training_file": file.json()["id"], "suffix": name}
    body["method"] = {"type": "logistic"}
    job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"})
    done = finished(client, job.json())
    assert done["status"] == "succeeded", done["error"]


def metric(client: TestClient, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_models_and_backbones_that_had_to_go_answer_as_before(service: TestClient) -> None:
    names = {backbone: backbone.replace("/", "-") for backbone in ASKED}
    for backbone, name in names.items():
        fit(service, backbone, name)

    def ask(backbone: str) -> Any:
        body = {"model": names[backbone], "input": ASKED[backbone], "return_embedding": True}
        response = service.post("/v1/predictions", json=body)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    first = {backbone: ask(backbone) for backbone in ASKED}
    before = metric(service, 'durian_evictions_total{kind="head"}')
    for _ in range(3):
        for backbone in ASKED:
            assert ask(backbone) == first[backbone]
    assert metric(service, 'durian_evictions_total{kind="head"}') >= before + 5
    assert metric(service, 'durian_loaded{kind="head"}') <= 1
    assert metric(service, 'durian_loaded{kind="backbone"}') <= 2  # the pinned one and the last used
    assert metric(service, "durian_memory_budget_bytes") == 1
    for backbone, name in names.items():
        stats = service.get(f"/v2/models/{name}/stats").json()["model_stats"]
        assert stats[0]["inference_stats"]["success"]["count"] == 4
        assert metric(service, f'durian_inputs_total{{backbone="{backbone}"}}') > 4
    listed = service.get("/v1/backbones").json()["data"]
    assert all(one["ready"] for one in listed)  # what is not in memory comes when it is asked for
