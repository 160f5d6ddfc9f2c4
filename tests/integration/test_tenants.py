"""Every verb on every id of one tenant, asked by another: the 404 of what never was, and nothing changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.admin import Admin
from app.db.tables import Dataset, File, Job, Model
from app.main import create_app
from app.runners.inline import InlineRunner
from app.services.catalogue import Catalogue, Entry
from app.settings import Settings
from models.errors import NotFound
from tests.support import jsonl, signal

ROWS = [{"input": signal(kind, seed), "label": str(kind)} for kind in (0, 1) for seed in range(6)]
TENSOR = {"name": "signal", "datatype": "FP32", "shape": [1, 50], "data": signal(0, 9)}
BODIES: dict[tuple[str, str], Any] = {
    ("put", "/v1/models/{name}/aliases/{alias}"): {"version": 1},
    ("post", "/v1/datasets/{dataset_id}/examples"): ROWS[:1],
    ("post", "/v2/models/{ref}/infer"): {"inputs": [TENSOR]},
    ("post", "/v2/models/{ref}/versions/{version}/infer"): {"inputs": [TENSOR]},
}
OWN = {("post", "/v1/models/{name}/examples")}
"""Names are a tenant's own: this makes a model of the one who asks."""

SHARED = {"/v1/backbones/{backbone_id}", "/v1/backbones/{backbone_id:path}"}
"""Backbones are everybody's."""


@dataclass(frozen=True)
class Pair:
    """A service with two tenants, the ids of what Ann has, and ids of the same kinds that nobody has."""

    client: TestClient
    ann: dict[str, str]
    bob: dict[str, str]
    hers: dict[str, str]
    nobodys: dict[str, str]
    his_dataset: str

    def ask(self, who: dict[str, str], method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self.client.request(method, path, json=body, headers=who)
        return answer.status_code, re.sub(r'"request_id":\s*"\w+"', "", answer.text)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    settings = Settings(data=tmp_path_factory.mktemp("tenants"), lanes=1)
    admin = Admin(settings)
    ann, bob = ({"authorization": f"Bearer {admin.create_key(tenant, 'admin')}"} for tenant in ("ann", "bob"))
    with TestClient(create_app(settings, runner=InlineRunner())) as client:
        hers = _belongings(client, ann)
        mine = client.post("/v1/datasets", json=_DATASET, headers=bob).json()["id"]
        nobodys = {kind: re.sub(r"[0-9a-f]{24}", "0" * 24, id) for kind, id in hers.items()}
        nobodys |= dict.fromkeys(("name", "ref", "reference"), "nobodys")
        yield Pair(client, ann, bob, hers, nobodys, mine)


_DATASET = {"name": "d", "modality": "signal", "task": "classification"}


def _belongings(client: TestClient, ann: dict[str, str]) -> dict[str, str]:
    """One object of every kind, by the name of the parameter that its id goes by."""
    file = client.post("/v1/files", files={"file": ("r.jsonl", jsonl(ROWS))}, headers=ann).json()["id"]
    dataset = client.post("/v1/datasets", json=_DATASET, headers=ann).json()["id"]
    added = client.post(f"/v1/datasets/{dataset}/examples", json=ROWS[:2], headers=ann).json()
    body = {
        "model": "signal/raw",
        "training_file": file,
        "suffix": "annas",
        "method": {"type": "logistic"},
    }
    job = client.post("/v1/fine_tuning/jobs", json=body, headers={**ann, "prefer": "wait=60"}).json()
    assert job["status"] == "succeeded", job
    assert client.put("/v1/models/annas/aliases/best", json={"version": 1}, headers=ann).status_code == 200
    return {
        "file_id": file,
        "dataset_id": dataset,
        "example_id": added["data"][0]["id"],
        "job_id": job["id"],
        **dict.fromkeys(("name", "ref", "reference"), "annas"),
        "alias": "best",
        "version": "1",
    }


def operations(pair: Pair) -> list[tuple[str, str]]:
    """Every verb on every path that names an object; those that only read come first."""
    app: Any = pair.client.app
    found = [(m, path) for path, verbs in app.openapi()["paths"].items() for m in verbs if "{" in path]
    return sorted((one for one in found if one[1] not in SHARED | {"/v1/backbones/{id}"}), key=_rank)


def _rank(operation: tuple[str, str]) -> tuple[int, str]:
    return ("get", "put", "post", "delete").index(operation[0]), operation[1]


def requests(pair: Pair, ids: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Requests that name these ids: in the path, as a cursor, in the body."""
    for method, path in operations(pair):
        if (method, path) not in OWN:
            yield method, path.format(**ids), BODIES.get((method, path))
    for reference in (ids["ref"], f"{ids['ref']}:1", f"{ids['ref']}@best"):
        yield "get", f"/v1/models/{reference}", None
        yield "post", "/v1/predictions", {"model": reference, "input": signal(0, 9)}
    for path, kind in (("files", "file_id"), ("datasets", "dataset_id"), ("fine_tuning/jobs", "job_id")):
        yield "get", f"/v1/{path}?after={ids[kind]}", None
    yield "get", f"/v1/datasets/{pair.his_dataset}/examples?after={ids['example_id']}", None
    yield "delete", f"/v1/datasets/{pair.his_dataset}/examples/{ids['example_id']}", None
    for source in (ids["file_id"], ids["dataset_id"]):
        yield "post", "/v1/fine_tuning/jobs", {"model": "signal/raw", "training_file": source}
        yield "post", "/v1/recommendations", {"training_file": source}


def leaks(pair: Pair) -> Iterator[str]:
    """Where Bob is told of Ann's object something else than of one that never was."""
    hers, nobodys = requests(pair, pair.hers), requests(pair, pair.nobodys)
    for asked, absent in zip(hers, nobodys, strict=True):
        told, expected = pair.ask(pair.bob, *asked), pair.ask(pair.bob, *absent)
        if told != expected or told[0] != 404:
            yield f"{asked[0]} {asked[1]}: {told[0]}, of nothing {expected[0]}"


def test_another_tenants_object_is_as_if_it_were_not(pair: Pair) -> None:
    assert len(list(requests(pair, pair.hers))) > 30
    before = _state(pair)
    assert list(leaks(pair)) == []
    assert _state(pair) == before


def _state(pair: Pair) -> list[tuple[int, Any]]:
    """What Ann sees of her own: all of it is there, which also shows that the ids above are right."""
    seen = [
        pair.ask(pair.ann, "get", path)
        for path in (
            "/v1/files/{file_id}",
            "/v1/datasets/{dataset_id}/examples",
            "/v1/fine_tuning/jobs/{job_id}",
            "/v1/models/{name}@best",
            "/v1/models/{name}/versions",
        )
        for path in [path.format(**pair.hers)]
    ]
    assert {status for status, _ in seen} == {200}
    return seen


def test_a_name_is_each_tenants_own(pair: Pair) -> None:
    before = _state(pair)
    grown = pair.client.post("/v1/models/annas/examples", json=ROWS[:1], headers=pair.bob)
    assert grown.status_code == 200, grown.text
    assert _state(pair) == before


def test_lists_hold_a_tenants_own_alone(pair: Pair) -> None:
    for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/models", "/v2/models", "/v2/models/stats"):
        _, told = pair.ask(pair.bob, "get", path)
        assert not any(id in told for id in (pair.hers["file_id"], pair.hers["job_id"], "annas")), path
    _, log = pair.ask(pair.bob, "get", "/v1/audit?limit=1000")
    assert pair.hers["file_id"] not in log
    assert pair.hers["file_id"] in pair.ask(pair.ann, "get", "/v1/audit?limit=1000")[1]


def _by_id(table: Any, param: str) -> Callable[..., Any]:
    """A look-up that forgets the tenant."""

    def found(session: Any, _tenant: str, id: str) -> Any:
        row = session.scalar(select(table).where(table.id == id))
        if row is None:
            raise NotFound(f"No such {param}.", param=param)
        return row

    return found


def _model_of_anybody(session: Any, _tenant: str, name: str) -> Any:
    model = session.scalar(select(Model).where(Model.name == name, Model.last_version > 0))
    if model is None:
        raise NotFound("No such model.", param="model")
    return model


def _entry_of_anybody(catalogue: Catalogue, _tenant: str, name: str) -> Entry:
    for models in catalogue._tenants.values():
        if name in models:
            return models[name]
    raise NotFound("No such model.", param="model")


@pytest.mark.parametrize(
    ("place", "mutant"),
    [
        ("app.services.files.file_of", _by_id(File, "file_id")),
        ("app.services.datasets.dataset_of", _by_id(Dataset, "dataset_id")),
        ("app.services.jobs.job_of", _by_id(Job, "fine_tuning_job_id")),
        ("app.services.models._model", _model_of_anybody),
        ("app.services.catalogue.Catalogue.entry", _entry_of_anybody),
    ],
    ids=["files", "datasets", "jobs", "models", "served models"],
)
def test_a_look_up_without_its_tenant_is_found(
    pair: Pair, place: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, mutant)
    assert next(leaks(pair), None) is not None  # the first ones only read, so nothing of Ann's goes
