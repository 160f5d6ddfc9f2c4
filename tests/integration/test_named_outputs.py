"""Models of several answers over HTTP: tasks that share a trunk, and verification beside the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import TEXTS, Job, jsonl

LENGTHS = [{"input": row["input"], "label": float(len(row["input"]))} for row in TEXTS]
TONES = [{"input": row["input"], "label": ["polite"] if "please" in row["input"] else []} for row in TEXTS]


@pytest.fixture(scope="module")
def several(client: TestClient) -> Job:
    """What a text asks for, how long it is, and its tone."""
    files = {}
    for name, rows in (("kind", TEXTS), ("length", LENGTHS), ("tone", TONES)):
        sent = {"file": (f"{name}.jsonl", jsonl(rows))}
        task = {"kind": "classification", "length": "regression", "tone": "multilabel"}[name]
        made = client.post("/v1/files", files=sent, data={"purpose": "fine-tune", "task": task})
        files[name] = made.json()["id"]
    given = {"tasks": {"length": files["length"], "tone": files["tone"]}, "name": "kind"}
    body = {
        "model": "text/minilm-l6",
        "training_file": files["kind"],
        "suffix": "several",
        "method": {"type": "multi_task", "multi_task": {"hyperparameters": given}},
    }
    job: Job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"}).json()
    assert job["status"] == "succeeded", job
    return job


def test_rows_carry_every_answer_by_name(client: TestClient, several: Job) -> None:
    body = {"model": "several", "input": ["help with my money back, please"]}
    (row,) = client.post("/v1/predictions", json=body).json()["data"]
    assert row["label"] == "refund"
    assert row["outputs"].keys() == {"length", "tone"}
    low, high = row["outputs"]["length"]["interval"]
    assert low < row["outputs"]["length"]["value"] < high
    assert row["outputs"]["tone"]["label"] == ["polite"]
    assert row["outputs"]["tone"]["scores"][0]["label"] == "polite"
    model = client.get("/v1/models/several").json()
    assert [output["name"] for output in model["outputs"]] == ["length", "tone"]
    assert {"kind.accuracy", "length.rmse", "tone.micro_f1"} <= model["metrics"].keys()


def test_the_open_protocol_gives_them_as_tensors(client: TestClient, several: Job) -> None:
    specs = {one["name"]: one["shape"] for one in client.get("/v2/models/several").json()["outputs"]}
    assert {name: specs[name] for name in list(specs)[:5]} == {
        "label": [-1],
        "scores": [-1, 2],
        "length.value": [-1],
        "tone.label": [-1],
        "tone.scores": [-1, 1],
    }
    sent = {
        "name": "text",
        "datatype": "BYTES",
        "shape": [2],
        "data": ["my money back", "a late parcel, please"],
    }
    got = client.post("/v2/models/several/infer", json={"inputs": [sent]}).json()["outputs"]
    found = {one["name"]: one["data"] for one in got}
    assert found.keys() == {"label", "scores", "length.value", "tone.label", "tone.scores"}
    assert found["label"] == ["refund", "delivery"]
    assert found["tone.label"] == ["[]", '["polite"]']
    assert len(found["length.value"]) == 2
    asked = {"name": "tone.scores", "parameters": {"classification": 1}}
    (best,) = client.post("/v2/models/several/infer", json={"inputs": [sent], "outputs": [asked]}).json()[
        "outputs"
    ]
    assert best["data"][1].endswith(":0:polite")


def refused(client: TestClient, training: str, other: str) -> Any:
    given = {"tasks": {"other": other}}
    method = {"type": "multi_task", "multi_task": {"hyperparameters": given}}
    body = {"model": "auto", "training_file": training, "method": method}
    return client.post("/v1/fine_tuning/jobs", json=body)


def test_a_task_that_cannot_be_is_refused_before_the_queue(
    client: TestClient, upload: Callable[..., Any]
) -> None:
    texts = upload("t.jsonl", jsonl(TEXTS)).json()["id"]
    one_class = upload("o.jsonl", jsonl(TEXTS[:3])).json()["id"]
    signals = upload("s.csv", b"label,a,b,c\nx,1,2,3\ny,4,5,6\nx,2,3,4\n").json()["id"]
    param = "method.multi_task.hyperparameters.tasks.other"
    for other, status, code in (
        ("file-unheard", 404, "not_found"),
        (signals, 422, "file_mismatch"),
        (one_class, 422, "too_few_classes"),
    ):
        answer = refused(client, texts, other)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.json()["error"]["param"] == param


def test_a_siamese_model_verifies(client: TestClient, fit: Callable[..., Job]) -> None:
    job = fit("t.jsonl", jsonl(TEXTS), model="text/minilm-l6", suffix="verify", method={"type": "siamese"})
    asked = {"model": "verify", "input": ["help with my money back", "x = sqrt(y) + lambda * 3.14159"]}
    known, strange = client.post("/v1/predictions", json=asked).json()["data"]
    assert known["label"] == "refund"
    assert known["outputs"]["same"]["label"] == ["refund"]
    assert strange["outputs"]["same"]["label"] == []
    metrics = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report").json()["metrics"]
    assert metrics["equal_error_rate"] <= 0.2
