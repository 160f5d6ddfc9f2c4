"""What a service says of its own doubts: sets and `unknown` in predictions, and in the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import TEXTS, Job, jsonl

MORE = [
    {"input": f"{opening} {thing}{closing}", "label": label}
    for label, thing in (("refund", "getting paid back"), ("delivery", "when my order arrives"))
    for opening in ("a question on", "let us talk about", "tell me more of")
    for closing in ("!", " please", " again")
]


@pytest.fixture(scope="module")
def wary(client: TestClient) -> Job:
    """A job with enough examples for everything."""
    file = client.post("/v1/files", files={"file": ("t.jsonl", jsonl(TEXTS + MORE))}).json()["id"]
    body = {"model": "text/minilm-l6", "training_file": file, "suffix": "wary"}
    job: Job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"}).json()
    assert job["status"] == "succeeded", job
    return job


def ask(client: TestClient, model: str, *texts: str) -> list[dict[str, Any]]:
    answer = client.post("/v1/predictions", json={"model": model, "input": list(texts)}).json()
    return list(answer["data"])


def test_predictions_carry_their_set_and_know_a_stranger(client: TestClient, wary: Job) -> None:
    known, strange = ask(client, "wary", "help with my money back again", "x = sqrt(y) + lambda * 3.14159")
    assert known["label"] == "refund"
    assert known["set"][0] == "refund"
    assert known["unknown"] is False
    assert strange["unknown"] is True
    assert strange["label"] in ("refund", "delivery")


def test_the_model_and_the_report_tell_how_often_they_hold(client: TestClient, wary: Job) -> None:
    metrics = client.get("/v1/models/wary").json()["metrics"]
    assert metrics["set_coverage"] >= 0.8
    assert 1 <= metrics["set_size"] <= 2
    assert 0 <= metrics["false_alarms"] <= 0.1
    path = f"/v1/fine_tuning/jobs/{wary['id']}/report"
    assert client.get(path).json()["metrics"]["set_coverage"] == metrics["set_coverage"]
    page = client.get(path, headers={"accept": "text/html"}).text
    assert "own doubts" in page
    assert "called unknown" in page


def test_mistakes_become_advice(client: TestClient, fit: Callable[..., Job]) -> None:
    rows = [{**row, "label": "delivery" if i % 4 == 0 else row["label"]} for i, row in enumerate(TEXTS)]
    job = fit("t.jsonl", jsonl(rows), model="text/minilm-l6", suffix="muddled")
    path = f"/v1/fine_tuning/jobs/{job['id']}/report"
    advice = client.get(path).json()["advice"]
    assert advice[0].startswith(("5 more of refund are worth most", "5 more of delivery are worth most"))
    assert "What to label next" in client.get(path, headers={"accept": "text/html"}).text


def test_a_model_of_few_examples_keeps_silent(client: TestClient, fit: Callable[..., Job]) -> None:
    fit("t.jsonl", jsonl(TEXTS[:2] + TEXTS[9:11]), model="text/minilm-l6", suffix="young")
    assert ask(client, "young", "my money")[0].keys() == {"index", "label", "score", "scores"}
