"""Examples that grow: folded by content, listed, deleted, and turned into a model in one request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import TEXTS, Job, png


@pytest.fixture
def dataset(client: TestClient) -> str:
    body = {"name": "support", "modality": "text", "task": "classification"}
    return str(client.post("/v1/datasets", json=body).json()["id"])


def add(client: TestClient, dataset: str, examples: Any) -> Any:
    return client.post(f"/v1/datasets/{dataset}/examples", json=examples)


def test_examples_are_counted_and_folded(client: TestClient, dataset: str) -> None:
    empty = client.get(f"/v1/datasets/{dataset}").json()
    first = add(client, dataset, TEXTS).json()
    assert (len(first["data"]), first["duplicates"]) == (18, 0)
    again = add(client, dataset, [TEXTS[0], {"input": "something new"}]).json()
    assert (len(again["data"]), again["duplicates"]) == (1, 1)
    after = client.get(f"/v1/datasets/{dataset}").json()
    assert after["labels"] == {"refund": 9, "delivery": 9}
    assert (after["examples"], after["unlabelled"]) == (19, 1)
    assert after["digest"] != empty["digest"]


def test_one_content_with_two_labels_is_a_conflict_that_names_both(client: TestClient, dataset: str) -> None:
    stored = add(client, dataset, [{"input": "hello", "label": "greeting"}]).json()["data"][0]
    response = add(client, dataset, [{"input": "new", "label": "x"}, {"input": "hello", "label": "other"}])
    assert response.status_code == 409
    message = response.json()["error"]["message"]
    assert stored["id"] in message
    assert "greeting" in message
    assert "other" in message
    assert client.get(f"/v1/datasets/{dataset}").json()["examples"] == 1


def test_an_unlabelled_example_may_be_labelled_later(client: TestClient, dataset: str) -> None:
    add(client, dataset, [{"input": "hello"}])
    add(client, dataset, [{"input": "hello", "label": "greeting"}])
    assert client.get(f"/v1/datasets/{dataset}").json()["labels"] == {"greeting": 1}


def test_paging_filtering_and_deleting(client: TestClient, dataset: str) -> None:
    add(client, dataset, TEXTS)
    path = f"/v1/datasets/{dataset}/examples"
    first = client.get(path, params={"limit": 10}).json()
    rest = client.get(path, params={"limit": 10, "after": first["last_id"]}).json()
    assert [first["has_more"], rest["has_more"]] == [True, False]
    assert len({row["id"] for row in first["data"] + rest["data"]}) == 18
    refunds = client.get(path, params={"label": "refund"}).json()["data"]
    assert {row["label"] for row in refunds} == {"refund"}
    gone = refunds[0]["id"]
    assert client.delete(f"{path}/{gone}").json()["deleted"] is True
    assert client.delete(f"{path}/{gone}").status_code == 404
    assert client.get(f"/v1/datasets/{dataset}").json()["examples"] == 17


def test_files_with_labels(client: TestClient) -> None:
    body = {"name": "pictures", "modality": "image", "task": "classification"}
    dataset = client.post("/v1/datasets", json=body).json()["id"]
    files = [("file", (f"{i}.png", png(40, i), "image/png")) for i in range(3)]
    one = client.post(f"/v1/datasets/{dataset}/examples", files=files, data={"label": "dark"})
    assert {row["label"] for row in one.json()["data"]} == {"dark"}
    assert [row["filename"] for row in one.json()["data"]] == ["0.png", "1.png", "2.png"]
    each = [("file", (f"{i}.png", png(200, i), "image/png")) for i in range(2)]
    response = client.post(
        f"/v1/datasets/{dataset}/examples", files=each, data={"label": ["bright", "very bright"]}
    )
    assert [row["label"] for row in response.json()["data"]] == ["bright", "very bright"]
    wrong = client.post(f"/v1/datasets/{dataset}/examples", files=each * 2, data={"label": ["a", "b", "c"]})
    assert wrong.status_code == 422


def test_a_job_trains_on_the_snapshot_of_its_moment(client: TestClient, dataset: str) -> None:
    add(client, dataset, TEXTS)
    body = {"model": "text/minilm-l6", "training_file": dataset, "suffix": "snapshot"}
    job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"}).json()
    assert job["status"] == "succeeded", job
    assert client.get("/v1/models/snapshot").json()["labels"] == ["delivery", "refund"]


def test_examples_in_model_out(client: TestClient) -> None:
    path = "/v1/models/grown/examples?backbone=text/minilm-l6"
    half = client.post(path, json=TEXTS[:9], headers={"prefer": "wait=60"}).json()
    assert half["job"] is None
    assert "one class" in half["note"]
    whole = client.post(path, json=TEXTS[9:], headers={"prefer": "wait=60"}).json()
    assert whole["job"]["status"] == "succeeded", whole
    assert whole["model"]["version"] == 1
    assert whole["dataset"]["examples"] == 18
    more = [{"input": "the app shows an error", "label": "bug"}, {"input": "it crashes", "label": "bug"}]
    third = client.post("/v1/models/grown/examples", json=more, headers={"prefer": "wait=60"}).json()
    assert third["model"]["version"] == 2
    assert third["model"]["labels"] == ["bug", "delivery", "refund"]


def test_a_class_joins_a_model_made_from_a_file(client: TestClient, fit: Callable[..., Job]) -> None:
    """Prototypes: the classes that were there answer among themselves as before."""
    rows = "\n".join(json.dumps(row) for row in TEXTS).encode()
    method = {"type": "prototypes"}
    assert (
        fit("texts.jsonl", rows, suffix="joined", model="text/minilm-l6", method=method)["status"]
        == "succeeded"
    )
    asked = {"model": "joined", "input": ["my parcel is late", "I want my money back"], "top_k": 9}
    before = client.post("/v1/predictions", json=asked).json()["data"]
    more = [{"input": "the app shows an error", "label": "bug"}]
    answer = client.post("/v1/models/joined/examples", json=more, headers={"prefer": "wait=60"}).json()
    assert answer["model"]["labels"] == ["bug", "delivery", "refund"], answer
    assert answer["model"]["method"] == "prototypes"
    assert answer["dataset"]["examples"] == len(TEXTS) + 1
    after = client.post("/v1/predictions", json=asked).json()["data"]
    assert [row["label"] for row in after] == [row["label"] for row in before]
    found = client.post("/v1/predictions", json={"model": "joined", "input": "the app has an error"}).json()
    assert found["data"][0]["label"] == "bug"


def test_a_model_whose_file_is_gone_does_not_forget_its_classes(
    client: TestClient, fit: Callable[..., Job], service_folder: Path
) -> None:
    rows = "\n".join(json.dumps({**row, "input": row["input"] + " again"}) for row in TEXTS).encode()
    job = fit("texts.jsonl", rows, suffix="orphan", model="text/minilm-l6")
    client.delete(f"/v1/files/{job['training_file']}")
    pack = client.get("/v1/models/orphan").json()["dataset_digest"]
    (blob,) = (service_folder / "blobs").rglob(pack)
    blob.unlink()
    more = [{"input": "the app shows an error", "label": "bug"}]
    refused = client.post("/v1/models/orphan/examples", json=more)
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "examples_gone"
    assert client.get("/v1/models/orphan").json()["version"] == 1


def test_the_examples_of_a_new_model_say_what_they_are(client: TestClient) -> None:
    files = [("file", (f"{i}.png", png(40 + 150 * (i % 2), i), "image/png")) for i in range(8)]
    labels = {"label": ["dark", "bright"] * 4}
    path = "/v1/models/grown-image/examples"
    answer = client.post(path, files=files, data=labels, headers={"prefer": "wait=60"}).json()
    assert answer["model"]["modality"] == "image"


def test_a_deleted_dataset_is_gone(client: TestClient, dataset: str) -> None:
    add(client, dataset, TEXTS)
    assert client.delete(f"/v1/datasets/{dataset}").json()["object"] == "dataset"
    assert client.get(f"/v1/datasets/{dataset}").status_code == 404
