"""Names are labels, digests are identity: versions, aliases, rollback, deletion."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.services.registry import Registry
from tests.support import TEXTS, Job, jsonl

RENAMED = [{**row, "label": row["label"].upper()} for row in TEXTS]


@pytest.fixture(scope="module")
def two_versions(client: TestClient) -> str:
    """A model whose second version answers in capitals."""
    for rows in (TEXTS, RENAMED):
        file = client.post("/v1/files", files={"file": ("t.jsonl", jsonl(rows))}).json()["id"]
        body = {"model": "text/minilm-l6", "training_file": file, "suffix": "two-versions"}
        job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"}).json()
        assert job["status"] == "succeeded", job
    return "two-versions"


def answer(client: TestClient, model: str) -> Any:
    body = {"model": model, "input": "give me my money back"}
    response = client.post("/v1/predictions", json=body)
    return response.json()["data"][0]["label"] if response.status_code == 200 else response.status_code


class Late:
    """What a publisher tells of a change: as late as on a machine that is busy."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def refresh(self) -> None:
        time.sleep(0.3)
        self._registry.refresh()


def test_who_sees_a_job_succeed_is_answered_by_its_version(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = client.app.state.process  # type: ignore[attr-defined]
    monkeypatch.setattr(process.worker.publisher, "registry", Late(process.services.registry))
    for version in (1, 2):
        file = client.post("/v1/files", files={"file": ("t.jsonl", jsonl(TEXTS))}).json()["id"]
        body = {"model": "text/minilm-l6", "training_file": file, "suffix": "at-once", "seed": version}
        job = client.post("/v1/fine_tuning/jobs", json=body).json()
        while job["status"] not in ("succeeded", "failed"):
            time.sleep(0.005)
            job = client.get(f"/v1/fine_tuning/jobs/{job['id']}").json()
        answered = client.post("/v1/predictions", json={"model": "at-once", "input": "hello"}).json()
        assert answered["version"] == version


def test_a_reference_is_a_name_a_version_or_an_alias(client: TestClient, two_versions: str) -> None:
    client.put(f"/v1/models/{two_versions}/aliases/champion", json={"version": 1})
    answers = {
        ref: answer(client, ref)
        for ref in (two_versions, f"{two_versions}:1", f"{two_versions}:2", f"{two_versions}@champion")
    }
    assert list(answers.values()) == ["REFUND", "refund", "REFUND", "refund"]
    model = client.get(f"/v1/models/{two_versions}@champion").json()
    assert (model["version"], model["aliases"]) == (1, {"champion": 1, "live": 2})
    assert client.delete(f"/v1/models/{two_versions}/aliases/champion").status_code == 200
    assert answer(client, f"{two_versions}@champion") == 404


def test_moving_live_rolls_back(client: TestClient, two_versions: str) -> None:
    client.put(f"/v1/models/{two_versions}/aliases/live", json={"version": 1})
    assert answer(client, two_versions) == "refund"
    client.put(f"/v1/models/{two_versions}/aliases/live", json={"version": 2})
    assert answer(client, two_versions) == "REFUND"


def test_versions_are_listed_newest_first(client: TestClient, two_versions: str) -> None:
    versions = client.get(f"/v1/models/{two_versions}/versions").json()["data"]
    assert [v["version"] for v in versions] == [2, 1]
    assert len({v["digest"] for v in versions}) == 2


@pytest.mark.parametrize(
    ("alias", "version", "status"), [("live", 9, 404), ("live", 0, 422), ("Not A Name", 1, 422)]
)
def test_a_bad_alias_changes_nothing(
    client: TestClient, two_versions: str, alias: str, version: int, status: int
) -> None:
    path = f"/v1/models/{two_versions}/aliases/{alias}"
    assert client.put(path, json={"version": version}).status_code == status
    assert client.get(f"/v1/models/{two_versions}").json()["version"] == 2


def test_live_cannot_be_taken_away(client: TestClient, two_versions: str) -> None:
    assert client.delete(f"/v1/models/{two_versions}/aliases/live").status_code == 400


def test_a_job_on_a_model_makes_its_next_version(client: TestClient, fit: Callable[..., Job]) -> None:
    fit("texts.jsonl", jsonl(TEXTS), model="text/minilm-l6", suffix="refitted")
    job = fit("renamed.jsonl", jsonl(RENAMED), model="refitted")
    assert (job["fine_tuned_model"], job["result"]["version"]) == ("refitted", 2)
    assert answer(client, "refitted") == "REFUND"


def test_a_version_is_deleted_unless_an_alias_holds_it(client: TestClient, fit: Callable[..., Job]) -> None:
    for rows in (TEXTS, RENAMED):
        fit("texts.jsonl", jsonl(rows), model="text/minilm-l6", suffix="shrinking")
    assert client.delete("/v1/models/shrinking:2").status_code == 409
    assert client.delete("/v1/models/shrinking:1").json()["deleted"] is True
    assert answer(client, "shrinking:1") == 404
    assert answer(client, "shrinking") == "REFUND"


def test_a_deleted_model_stops_answering_and_its_name_is_free(
    client: TestClient, fit: Callable[..., Job]
) -> None:
    fit("texts.jsonl", jsonl(TEXTS), suffix="doomed")
    assert client.delete("/v1/models/doomed").json() == {"id": "doomed", "object": "model", "deleted": True}
    assert answer(client, "doomed") == 404
    assert client.get("/v1/models/doomed").status_code == 404
    assert "doomed" not in {m["id"] for m in client.get("/v1/models").json()["data"]}
    fit("renamed.jsonl", jsonl(RENAMED), suffix="doomed")
    assert answer(client, "doomed") == "REFUND"
