"""A job's life as its owner sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.runners.inline import InlineRunner
from app.settings import Settings
from tests.support import TEXTS, Job, jsonl, signal

Fit = Callable[..., Job]


@pytest.fixture
def texts(upload: Callable[..., Any]) -> str:
    return str(upload("texts.jsonl", jsonl(TEXTS)).json()["id"])


@pytest.fixture
def job(fit: Fit) -> Job:
    return fit("texts.jsonl", jsonl(TEXTS), suffix="jobs", metadata={"team": "support"})


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[TestClient]:
    """A service without a worker: its jobs stay queued."""
    settings = Settings(data=tmp_path, max_queued_jobs=2)
    with TestClient(create_app(settings, worker=False, runner=InlineRunner())) as client:
        yield client


def create(client: TestClient, **headers: str) -> Any:
    file = client.post("/v1/files", files={"file": ("t.jsonl", jsonl(TEXTS))}).json()["id"]
    body = {"model": "text/minilm-l6", "training_file": file}
    return client.post("/v1/fine_tuning/jobs", json=body, headers=headers)


def test_events_are_ordered_and_paged(client: TestClient, job: Job) -> None:
    path = f"/v1/fine_tuning/jobs/{job['id']}/events"
    events = client.get(path).json()["data"]
    assert len(events) >= 5
    assert events[-1]["data"]["progress"] == 1.0
    assert [e["created_at"] for e in events] == sorted(e["created_at"] for e in events)
    progress = [e["data"]["progress"] for e in events if "progress" in e["data"]]
    assert progress == sorted(progress)
    page = client.get(path, params={"limit": 2}).json()
    rest = client.get(path, params={"after": page["last_id"]}).json()["data"]
    assert page["data"] + rest == events


def test_events_as_a_stream_resume_where_they_were_left(client: TestClient, job: Job) -> None:
    path = f"/v1/fine_tuning/jobs/{job['id']}/events"
    whole = client.get(path, headers={"accept": "text/event-stream"})
    assert whole.headers["content-type"].startswith("text/event-stream")
    events = whole.text.strip().split("\n\n")
    assert json.loads(events[-1].partition("data: ")[2])["status"] == "succeeded"
    seen = events[2].split("id: ")[1].split("\n")[0]
    headers = {"accept": "text/event-stream", "last-event-id": seen}
    assert client.get(path, headers=headers).text.strip().split("\n\n") == events[3:]


def test_the_report_is_json_and_a_page(client: TestClient, job: Job) -> None:
    path = f"/v1/fine_tuning/jobs/{job['id']}/report"
    report = client.get(path).json()
    assert report["estimate"]["metric"] == "accuracy"
    assert {row["label"] for row in report["per_class"]} == {"refund", "delivery"}
    assert report["digests"]["artefact"] == job["result"]["digest"]
    assert {"load", "features", "select", "fit", "report", "export"} <= report["timings"].keys()
    page = client.get(path, headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<svg" in page.text
    assert "<script" not in page.text


def test_the_declared_baseline_is_reported_beside_the_model(client: TestClient, fit: Fit) -> None:
    rows = [
        {"input": signal(kind, seed), "label": ("slow", "fast")[kind]} for kind in (0, 1) for seed in range(6)
    ]
    for model in ("auto", "signal/durian-small"):
        job = fit("waves.jsonl", jsonl(rows), model=model, suffix="beside")
        report = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report").json()
        names = " ".join(baseline["name"] for baseline in report["baselines"])
        assert "majority class" in names
        assert "knn" in names
        assert report["backbone"] == "signal/raw" or "signal/raw" in names


def test_a_label_cannot_break_the_page(client: TestClient, fit: Fit) -> None:
    rows = [{**row, "label": f"<script>{row['label']}</script>"} for row in TEXTS]
    job = fit("hostile.jsonl", jsonl(rows), suffix="hostile")
    page = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report", headers={"accept": "text/html"})
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


def test_a_checkpoint_can_be_called(client: TestClient, job: Job) -> None:
    checkpoints = client.get(f"/v1/fine_tuning/jobs/{job['id']}/checkpoints").json()["data"]
    reference = checkpoints[0]["fine_tuned_model_checkpoint"]
    answer = client.post("/v1/predictions", json={"model": reference, "input": "my money back"})
    assert answer.json()["data"][0]["label"] == "refund"


def test_jobs_are_listed_newest_first_and_by_metadata(client: TestClient, job: Job) -> None:
    jobs = client.get("/v1/fine_tuning/jobs", params={"metadata[team]": "support"}).json()["data"]
    assert jobs[0]["id"] == job["id"]
    assert jobs[0]["metadata"] == {"team": "support"}
    assert client.get("/v1/fine_tuning/jobs", params={"metadata[team]": "none"}).json()["data"] == []


def test_a_named_method_and_its_hyperparameters_are_used(fit: Fit) -> None:
    method = {"type": "logistic", "logistic": {"hyperparameters": {"C": 3.0}}}
    job = fit("texts.jsonl", jsonl(TEXTS), suffix="named-method", method=method)
    assert job["result"]["method"] == "logistic"
    assert job["hyperparameters"]["C"] == 3.0


def test_every_listed_method_has_a_schema_and_a_source(client: TestClient) -> None:
    methods = {m["name"]: m for m in client.get("/v1/fine_tuning/methods").json()["data"]}
    assert {"auto", "logistic", "ridge", "prototypes", "knn"} <= methods.keys()
    assert all(m["source"] and m["hyperparameters"]["type"] == "object" for m in methods.values())


def test_a_validation_file_is_reported_apart(client: TestClient, fit: Fit, texts: str) -> None:
    job = fit("texts.jsonl", jsonl(TEXTS), suffix="validated", validation_file=texts)
    report = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report").json()
    assert report["validation"]["n"] == len(TEXTS)


def test_an_idempotency_key_gives_one_job(idle: TestClient) -> None:
    file = idle.post("/v1/files", files={"file": ("t.jsonl", jsonl(TEXTS))}).json()["id"]
    body = {"model": "text/minilm-l6", "training_file": file}
    headers = {"idempotency-key": "abc"}

    def post(_: int) -> Any:
        return idle.post("/v1/fine_tuning/jobs", json=body, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(16)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.json()["id"] for a in answers}) == 1
    other = idle.post("/v1/fine_tuning/jobs", json={**body, "seed": 3}, headers=headers)
    assert other.status_code == 409


def test_a_queued_job_can_be_cancelled_once(idle: TestClient) -> None:
    job = create(idle).json()
    assert job["status"] == "queued"
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    assert idle.post(f"{path}/cancel").json()["status"] == "cancelled"
    ended = idle.get(path).json()
    assert ended["finished_at"] is not None
    assert idle.post(f"{path}/cancel").json() == ended


def test_a_full_queue_says_when_to_come_back(idle: TestClient) -> None:
    assert [create(idle).status_code for _ in range(3)] == [200, 200, 429]
    refused = create(idle)
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1


def test_prefer_wait_answers_when_time_is_up(idle: TestClient) -> None:
    answer = create(idle, prefer="wait=1")
    assert answer.json()["status"] == "queued"
    assert answer.headers["preference-applied"] == "wait=1"


def test_a_tap_may_be_asked_for(client: TestClient, fit: Callable[..., Job]) -> None:
    rows = "\n".join(json.dumps(row) for row in TEXTS).encode()
    asked = {"method": {"type": "logistic"}, "suffix": "tapped"}
    job = fit("tapped.jsonl", rows, model="text/minilm-l6@layer_4+first_word", **asked)
    assert job["result"]["tap"] == "layer_4+first_word"
    found = client.post("/v1/predictions", json={"model": "tapped", "input": "my parcel is late"}).json()
    assert found["data"][0]["label"] == "delivery"
    assert fit("tapped.jsonl", rows, model="text/minilm-l6", **asked)["result"]["tap"] == "sentence"
    body = {"model": "text/minilm-l6@attic", "training_file": job["training_file"]}
    refused = client.post("/v1/fine_tuning/jobs", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "unknown_tap")
