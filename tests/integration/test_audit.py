"""Who wrote what: a line for each write in its own transaction, and what a tenant may hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text
from starlette.testclient import TestClient

from app.admin import Admin
from app.db import database, queue
from app.db.database import Database
from app.db.tables import Base
from app.main import create_app
from app.runners.inline import InlineRunner
from app.settings import Settings
from tests.support import jsonl, signal

ROWS = [{"input": signal(kind, seed), "label": str(kind)} for kind in (0, 1) for seed in range(6)]
SECRET = "a-label-that-is-nobodys-business"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data=tmp_path_factory.mktemp("audit"),
        lanes=1,
        max_tenant_bytes=60_000,  # type: ignore[arg-type]
        max_tenant_examples=40,
    )


@pytest.fixture(scope="module")
def key(settings: Settings) -> str:
    return Admin(settings).create_key("ann", "admin")


@pytest.fixture(scope="module")
def client(settings: Settings, key: str) -> Iterator[TestClient]:
    headers = {"authorization": f"Bearer {key}"}
    with TestClient(create_app(settings, runner=InlineRunner()), headers=headers) as client:
        yield client


def lines(client: TestClient, after: str | None = None) -> list[dict[str, Any]]:
    answer = client.get("/v1/audit", params={"limit": 1_000, **({"after": after} if after else {})})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def written(client: TestClient, after: str) -> list[tuple[str, str, str, str]]:
    return [
        (line["method"], line["action"], line["kind"], line["object_id"]) for line in lines(client, after)
    ]


def test_every_write_is_a_line_with_who_what_when_and_from_where(client: TestClient, key: str) -> None:
    (made,) = lines(client)
    assert (made["kind"], made["object_id"], made["method"]) == ("api_key", key.split("_")[1], "COMMAND")
    upload = client.post("/v1/files", files={"file": ("r.jsonl", jsonl(ROWS))})
    file = upload.json()["id"]
    (line,) = lines(client, made["id"])
    assert line["key_id"] == key.split("_")[1]
    assert line["address"] == "testclient"
    assert line["request_id"] == upload.headers["x-request-id"]
    assert line["at"] == pytest.approx(upload.json()["created_at"], abs=2)
    assert len(line["digest"]) == 64

    body = {"model": "signal/raw", "training_file": file, "suffix": "m", "method": {"type": "logistic"}}
    job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"}).json()
    assert job["status"] == "succeeded"
    client.put("/v1/models/m/aliases/best", json={"version": 1})
    client.delete("/v1/models/m/aliases/best")
    client.delete("/v1/models/m")
    client.delete(f"/v1/files/{file}")
    assert written(client, line["id"]) == [
        ("POST", "created", "fine_tuning.job", job["id"]),
        ("SERVICE", "created", "model", "m"),
        ("SERVICE", "created", "model.version", "m:1"),
        ("SERVICE", "created", "model.alias", "m@live"),
        ("PUT", "created", "model.alias", "m@best"),
        ("DELETE", "deleted", "model.alias", "m@best"),
        ("DELETE", "deleted", "model", "m"),
        ("DELETE", "deleted", "file", file),
    ]


def test_a_batch_of_examples_is_one_line_without_what_is_in_it(client: TestClient, key: str) -> None:
    last = lines(client)[-1]["id"]
    dataset = client.post(
        "/v1/datasets", json={"name": "d", "modality": "text", "task": "classification"}
    ).json()["id"]
    rows = [{"input": f"{SECRET} {i}", "label": SECRET} for i in range(3)] + [{"input": "plain"}]
    added = client.post(f"/v1/datasets/{dataset}/examples", json=rows).json()["data"]
    client.post(f"/v1/datasets/{dataset}/examples", json=[{"input": "plain", "label": SECRET}])
    client.delete(f"/v1/datasets/{dataset}/examples/{added[0]['id']}")
    client.delete(f"/v1/datasets/{dataset}")
    log = lines(client, last)
    assert [(line["action"], line["kind"], line["detail"]) for line in log] == [
        ("created", "dataset", ""),
        ("created", "dataset.examples", "4 examples"),
        ("changed", "dataset.examples", "1 examples"),
        ("deleted", "dataset.examples", "1 examples"),
        ("deleted", "dataset", ""),
    ]
    whole = client.get("/v1/audit?limit=1000").text
    assert SECRET not in whole
    assert key.split("_")[2] not in whole


def test_a_refused_write_leaves_no_line(client: TestClient) -> None:
    last = lines(client)[-1]["id"]
    assert client.post("/v1/files", files={"file": ("r.jsonl", b"{")}).status_code == 422
    assert client.delete("/v1/files/file-000000000000000000000000").status_code == 404
    assert lines(client, last) == []


def test_jobs_under_way_have_a_bound_and_a_cancelled_one_is_a_line(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, lanes=1)
    admin = Admin(settings)
    keys = {t: {"authorization": f"Bearer {admin.create_key(t, 'admin')}"} for t in ("ann", "bob")}
    made = []
    with TestClient(create_app(settings, runner=InlineRunner(), worker=False)) as client:
        for tenant in ("ann", "ann", "ann", "bob"):
            who = keys[tenant]
            file = client.post("/v1/files", files={"file": ("r.jsonl", jsonl(ROWS))}, headers=who).json()
            body = {"model": "signal/raw", "training_file": file["id"]}
            made.append(client.post("/v1/fine_tuning/jobs", json=body, headers=who).json()["id"])
        db = Database(settings.database_url)
        with db.write() as session:
            claimed = [queue.claim(session, "w", 1e12, 15, running=2) for _ in range(4)]
        assert [job and job.id for job in claimed] == [made[0], made[3], made[1], None]
        usage = client.get("/v1/usage", headers=keys["ann"]).json()
        assert usage["jobs"] == {"queued": 1, "running": 2}
        client.post(f"/v1/fine_tuning/jobs/{made[2]}/cancel", headers=keys["ann"])
        client.post(f"/v1/fine_tuning/jobs/{made[2]}/cancel", headers=keys["ann"])
        log = client.get("/v1/audit", headers=keys["ann"]).json()["data"]
        assert [line["object_id"] for line in log if line["action"] == "cancelled"] == [made[2]]
        db.close()


def test_the_log_is_paged(client: TestClient) -> None:
    first = client.get("/v1/audit", params={"limit": 2}).json()
    rest = lines(client, first["last_id"])
    assert first["has_more"]
    assert [*first["data"], *rest] == lines(client)
    assert client.get("/v1/audit", params={"after": "audit-x"}).status_code == 404


def test_a_full_tenant_is_told_so_and_room_comes_back(client: TestClient) -> None:
    def upload(n: int) -> Any:
        rows = jsonl([{"input": signal(0, seed, 10), "label": "a"} for seed in range(n)])
        return client.post("/v1/files", files={"file": ("r.jsonl", rows)})

    before = client.get("/v1/usage").json()
    kept = upload(30)
    assert kept.status_code == 200, kept.text
    usage = client.get("/v1/usage").json()
    assert usage["examples"] == before["examples"] + 30
    assert usage["bytes"] == before["bytes"] + kept.json()["bytes"]
    assert usage["limits"]["examples"] == 40
    refused = upload(30)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert refused.json()["error"]["code"] == "examples_quota"
    dataset = client.post(
        "/v1/datasets", json={"name": "q", "modality": "text", "task": "classification"}
    ).json()["id"]
    rows = [{"input": f"text {i}"} for i in range(11)]
    assert client.post(f"/v1/datasets/{dataset}/examples", json=rows).status_code == 429
    assert client.get(f"/v1/datasets/{dataset}").json()["examples"] == 0
    big = client.post(f"/v1/datasets/{dataset}/examples", json=[{"input": "x" * 60_000}])
    assert big.json()["error"]["code"] == "bytes_quota"
    assert client.get("/v1/usage").json() == usage
    client.delete(f"/v1/files/{kept.json()['id']}")
    assert client.post(f"/v1/datasets/{dataset}/examples", json=rows).status_code == 200


def test_the_schema_goes_up_and_down_and_is_that_of_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'd.sqlite'}")
    db.migrate()
    with db.engine.connect() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        for name, table in Base.metadata.tables.items():
            assert {column["name"] for column in found.get_columns(name)} == {*table.columns.keys()}, name
    with db.engine.execution_options(durian_write=True).connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(database._MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert not inspect(connection).has_table("audit")
        command.upgrade(config, "head")
        assert connection.scalar(text("SELECT count(*) FROM audit")) == 0
    db.close()
