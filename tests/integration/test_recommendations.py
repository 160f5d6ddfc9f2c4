"""POST /v1/recommendations: real backbones, real features, every refusal that can be known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import TEXTS, jsonl, signal

PATH = "/v1/recommendations"


@pytest.fixture
def texts(upload: Callable[..., Any]) -> str:
    return str(upload("texts.jsonl", jsonl(TEXTS)).json()["id"])


@pytest.fixture
def signals(upload: Callable[..., Any]) -> str:
    rows = [
        {"input": signal(kind, seed), "label": ["slow", "fast"][kind]} for kind in (0, 1) for seed in range(6)
    ]
    return str(upload("signals.jsonl", jsonl(rows)).json()["id"])


def ask(client: TestClient, **body: Any) -> Any:
    return client.post(PATH, json=body)


def test_backbones_and_taps_are_ranked(client: TestClient, texts: str) -> None:
    answer = ask(client, training_file=texts)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    cards = {b["id"]: b for b in client.get("/v1/backbones").json()["data"] if b["modality"] == "text"}
    every = {(id, tap["name"]) for id, card in cards.items() for tap in card["taps"]}
    assert {(c["backbone"], c["tap"]) for c in body["candidates"]} == every
    scores = [c["score"] for c in body["candidates"]]
    assert scores == sorted(scores, reverse=True)
    best = body["candidates"][0]
    assert best["loo"]["metric"] == "accuracy"
    assert best["loo"]["value"] > 0.8
    assert (body["object"], body["setting"]["name"], body["a_distance"]) == (
        "recommendation",
        "few-shot",
        None,
    )


def test_baselines_compete(client: TestClient, signals: str) -> None:
    candidates = ask(client, training_file=signals).json()["candidates"]
    assert {c["backbone"] for c in candidates if c["baseline"]} == {"signal/raw"}
    assert {c["backbone"] for c in candidates if not c["baseline"]} >= {"signal/durian-small"}


def test_an_unlabelled_file_is_the_target(
    client: TestClient, upload: Callable[..., Any], signals: str
) -> None:
    moved = [{"input": [v + 40 for v in signal(seed % 2, seed)]} for seed in range(12)]
    target = upload("moved.jsonl", jsonl(moved)).json()["id"]
    body = ask(client, training_file=signals, unlabelled_file=target).json()
    assert 0 <= body["a_distance"] <= 2


def test_a_dataset_serves_as_well(client: TestClient) -> None:
    fields = {"name": "recommended", "modality": "text", "task": "classification"}
    dataset = client.post("/v1/datasets", json=fields).json()["id"]
    client.post(f"/v1/datasets/{dataset}/examples", json=TEXTS)
    assert ask(client, training_file=dataset).json()["examples"] == len(TEXTS)


@pytest.mark.parametrize("field", ["training_file", "unlabelled_file"])
def test_a_file_that_is_not_there_is_named(client: TestClient, texts: str, field: str) -> None:
    answer = ask(client, **{"training_file": texts, field: "file-none"})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == field


def test_an_unlabelled_file_of_another_kind_is_refused(
    client: TestClient, upload: Callable[..., Any], texts: str
) -> None:
    rows = [{"input": signal(0, seed)} for seed in range(4)]
    other = upload("bare.jsonl", jsonl(rows), modality="signal").json()["id"]
    answer = ask(client, training_file=texts, unlabelled_file=other)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "unlabelled_file")
    assert answer.json()["error"]["code"] == "file_mismatch"


def test_one_class_is_too_little(client: TestClient, upload: Callable[..., Any]) -> None:
    rows = [{"input": f"text {i}", "label": "same"} for i in range(4)]
    answer = ask(client, training_file=upload("one.jsonl", jsonl(rows)).json()["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_few_classes")


def test_without_labels_the_setting_is_told(client: TestClient, upload: Callable[..., Any]) -> None:
    rows = [{"input": f"text number {i}"} for i in range(4)]
    file = upload("bare.jsonl", jsonl(rows)).json()["id"]
    body = ask(client, training_file=file).json()
    assert (body["setting"]["name"], body["examples"]) == ("zero-shot", 0)


def test_a_field_that_is_not_known_is_refused(client: TestClient, texts: str) -> None:
    assert ask(client, training_file=texts, model="auto").status_code == 422
