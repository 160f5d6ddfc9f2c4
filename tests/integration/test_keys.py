"""Who may do what: nobody without a key, readers read, and a tenant sees only what is its own."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.admin import Admin
from app.api.gate import OPEN, READ_ONLY
from app.db.database import Database
from app.main import create_app
from app.runners.inline import InlineRunner
from app.services.identities import Identities
from app.services.keys import Identity, Keys
from app.settings import Settings
from models.errors import Unauthorized, Unavailable
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


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND")


def paths_of(client: TestClient) -> list[str]:
    """Every path that the app answers at, documented or not, and some that it does not."""
    app: Any = client.app
    mounted = [str(getattr(route, "path", "")) for route in app.routes]
    found = {*app.openapi()["paths"], *mounted, "/no/such/path", "//v1/files", "/v1/files/", "/V1/files"}
    return sorted(path for path in found - OPEN if path.startswith("/"))


def test_every_route_and_method_asks_for_a_key(closed: TestClient) -> None:
    paths = paths_of(closed)
    assert len(paths) > 35
    for path in paths:
        for method in METHODS:
            assert closed.request(method, f"http://testserver{path}").status_code == 401, (method, path)


def test_a_reader_is_refused_every_write(closed: TestClient, keys: dict[str, str]) -> None:
    app: Any = closed.app
    written = [
        (method, path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method != "get" and path not in READ_ONLY and not path.endswith("/infer")
    ]
    assert len(written) >= 12
    for method, path in written:
        assert closed.request(method, path, headers=bearer(keys["eve"])).status_code == 403, (method, path)


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


def test_an_unknown_key_costs_the_same_comparison(
    settings: Settings, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, compared = hmac.compare_digest, []
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or right(*pair))
    known = keys["ann"].split("_")[1]
    service = Keys(Database(settings.database_url), settings.data / "pepper")
    for key in (f"dk_{known}_wrong", "dk_unknown_wrong"):
        with pytest.raises(Unauthorized):
            service.identify(key)
    assert [len(expected) for _, expected in compared] == [64, 64]
    service.db.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("app.services.identities.time.monotonic", lambda: now[0])
    return now


class Slow:
    """Keys of which `ann` is right; the database may be away, and `meanwhile` happens while it is asked."""

    def __init__(self) -> None:
        self.away, self.empty = False, False
        self.meanwhile: Callable[[], object] = lambda: None

    def any(self) -> bool:
        self.meanwhile()
        if self.away:
            raise Unavailable("away")
        return not self.empty

    def identify(self, key: str) -> Identity:
        self.meanwhile()
        if self.away:
            raise Unavailable("away")
        if key != "ann":
            raise Unauthorized("no")
        return Identity("ann", "reader")


@pytest.mark.parametrize(("mode", "empty", "tenant"), [("keys", False, "ann"), ("auto", True, "default")])
def test_who_was_let_in_is_let_in_while_the_database_is_away(
    clock: list[float], mode: Any, empty: bool, tenant: str
) -> None:
    keys: Any = Slow()
    keys.empty = empty
    doorman = Identities(keys, mode)
    assert doorman.known("ann") is None
    assert doorman.identify("ann").tenant == tenant
    clock[0] += 30
    assert doorman.known("ann") is None  # it has to be asked again, while it can be
    keys.away = True
    assert doorman.identify("ann").tenant == tenant
    # While one waits for the database, others do not.
    keys.meanwhile = lambda: seen.append(doorman.known("ann"))
    seen: list[Identity | None] = []
    doorman.identify("ann")
    assert [one and one.tenant for one in seen] == [tenant]
    if mode == "keys":
        with pytest.raises(Unavailable):
            doorman.identify("bob")
    clock[0] += 31
    with pytest.raises(Unavailable):
        doorman.identify("ann")


def test_a_newcomer_waits_for_somebodys_commit() -> None:
    """Which locks the database for a moment, and there is no earlier answer to go by."""
    keys: Any = Slow()
    doorman = Identities(keys, "keys")
    keys.away, asked = True, []

    def meanwhile() -> None:
        asked.append(1)
        keys.away = len(asked) < 4

    keys.meanwhile = meanwhile
    assert doorman.identify("ann").tenant == "ann"
    assert len(asked) == 4


def test_one_asks_for_all_and_nobody_rides_on_an_old_answer(clock: list[float]) -> None:
    keys: Any = Slow()
    doorman = Identities(keys, "keys")
    doorman.identify("ann")
    seen: dict[float, bool] = {}

    def look(after: float) -> Callable[[], None]:
        return lambda: seen.update({after: doorman.known("ann") is not None})

    for after in (0.5, 0.9):
        clock[0] += after
        keys.meanwhile = look(after)
        doorman.identify("ann")
    assert seen == {0.5: True, 0.9: False}
    keys.meanwhile = lambda: None
    assert doorman.known("ann") is not None
    clock[0] += 0.9
    assert doorman.known("ann") is None


def test_an_answer_that_ages_is_renewed_once_beside_those_that_it_serves(clock: list[float]) -> None:
    keys: Any = Slow()
    doorman = Identities(keys, "keys")
    doorman.identify("ann")
    asked, going = Semaphore(0), Event()

    def meanwhile() -> None:
        asked.release()
        assert going.wait(10)

    keys.meanwhile = meanwhile
    clock[0] += 0.3
    assert doorman.known("ann") is not None
    assert not asked.acquire(timeout=0.02)
    clock[0] += 0.2
    for _ in range(3):
        assert doorman.known("ann") is not None
    assert asked.acquire(timeout=10)
    going.set()
    doorman._renewals.submit(lambda: None).result(10)
    assert not asked.acquire(blocking=False)
    clock[0] += 0.7
    assert doorman.known("ann") is not None  # as old as the renewal


def test_two_processes_make_one_pepper(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'd.sqlite'}")
    db.migrate()
    first, second = Keys(db, tmp_path / "pepper"), Keys(db, tmp_path / "pepper")
    key = first.create("t", "reader")
    made = (tmp_path / "pepper").read_bytes()
    assert second._first_pepper() == made  # it saw no file, and found one when it had made its own
    assert second.identify(key).tenant == "t"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.sqlite", "pepper"]
    assert (tmp_path / "pepper").stat().st_mode & 0o077 == 0
    db.close()


def test_an_expired_key_is_refused(settings: Settings, closed: TestClient) -> None:
    key = Admin(settings).create_key("ann", "reader", expires_in_days=-1)
    assert closed.get("/v1/files", headers=bearer(key)).json()["error"]["code"] == "expired_api_key"


def test_a_key_is_kept_only_as_a_hash(settings: Settings, keys: dict[str, str]) -> None:
    stored = (Path(settings.data) / "durian.sqlite").read_bytes()
    assert not any(key.rpartition("_")[2].encode() in stored for key in keys.values())
