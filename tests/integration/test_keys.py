"""Who may do what: nobody without a key, readers read, and a tenant sees only what is its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.admin import Admin
from app.api.gate import OPEN
from app.main import create_app
from app.runners.inline import InlineRunner
from app.settings import Settings
from tests.support import TEXTS, jsonl


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data=tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def keys(settings: Settings) -> dict[str, str]:
    admin = Admin(settings)
    return {
        "ann": admin.create_key("ann", "writer"),
        "bob": admin.create_key("bob", "admin"),
        "eve": admin.create_key("ann", "reader"),
    }


@pytest.fixture(scope="module")
def closed(settings: Settings, keys: dict[str, str]) -> Iterator[TestClient]:
    assert keys
    with TestClient(create_app(settings, runner=InlineRunner())) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def upload(client: TestClient, key: str) -> Any:
    return client.post("/v1/files", files={"file": ("t.jsonl", jsonl(TEXTS))}, headers=bearer(key))


def test_every_route_and_method_asks_for_a_key(closed: TestClient) -> None:
    paths = [path for path in closed.app.openapi()["paths"] if path not in OPEN]  # type: ignore[attr-defined]
    assert len(paths) > 30
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
    for path in [*paths, "/openapi.json", "/docs", "/no/such/path"]:
        for method in methods:
            assert closed.request(method, path).status_code == 401, (method, path)


def test_probes_need_no_key(closed: TestClient) -> None:
    assert {closed.get(path).status_code for path in OPEN} == {200}


@pytest.mark.parametrize("key", ["", "dk_", "dk_0_0", "dk_0123456789abcdef_x", "sk-1", "dk_a_b_c", "\x00"])
def test_a_wrong_key_is_refused(closed: TestClient, key: str) -> None:
    response = closed.get("/v1/files", headers={"authorization": f"Bearer {key}".encode()})
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"


def test_both_headers_work(closed: TestClient, keys: dict[str, str]) -> None:
    assert closed.get("/v1/files", headers=bearer(keys["ann"])).status_code == 200
    assert closed.get("/v1/files", headers={"x-api-key": keys["ann"]}).status_code == 200


def test_a_reader_reads_and_does_not_write(closed: TestClient, keys: dict[str, str]) -> None:
    assert upload(closed, keys["eve"]).status_code == 403
    assert closed.get("/v1/files", headers=bearer(keys["eve"])).status_code == 200
    asked = closed.post("/v1/predictions", json={"model": "x", "input": "y"}, headers=bearer(keys["eve"]))
    assert asked.status_code == 404


def test_another_tenants_file_is_the_same_404_as_none(closed: TestClient, keys: dict[str, str]) -> None:
    file = upload(closed, keys["ann"]).json()["id"]
    theirs = closed.get(f"/v1/files/{file}", headers=bearer(keys["bob"]))
    none = closed.get("/v1/files/file-000000000000000000000000", headers=bearer(keys["bob"]))
    assert theirs.status_code == none.status_code == 404
    assert {**theirs.json()["error"], "request_id": ""} == {**none.json()["error"], "request_id": ""}
    assert closed.delete(f"/v1/files/{file}", headers=bearer(keys["bob"])).status_code == 404
    body = {"model": "text/minilm-l6", "training_file": file}
    assert closed.post("/v1/fine_tuning/jobs", json=body, headers=bearer(keys["bob"])).status_code == 404
    assert closed.get(f"/v1/files/{file}", headers=bearer(keys["eve"])).status_code == 200


def test_a_revoked_key_stops_within_a_second(settings: Settings, closed: TestClient) -> None:
    admin = Admin(settings)
    key = admin.create_key("ann", "reader")
    assert closed.get("/v1/files", headers=bearer(key)).status_code == 200
    admin.revoke_key(key.split("_")[1])
    deadline = time.monotonic() + 1.0
    while closed.get("/v1/files", headers=bearer(key)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_expired_key_is_refused(settings: Settings, closed: TestClient) -> None:
    key = Admin(settings).create_key("ann", "reader", expires_in_days=-1)
    assert closed.get("/v1/files", headers=bearer(key)).json()["error"]["code"] == "expired_api_key"


def test_a_key_is_kept_only_as_a_hash(settings: Settings, keys: dict[str, str]) -> None:
    stored = (Path(settings.data) / "durian.sqlite").read_bytes()
    assert not any(key.rpartition("_")[2].encode() in stored for key in keys.values())
