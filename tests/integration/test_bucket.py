"""Uploads and models in a bucket: machines that share nothing but the database and it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.main import Process, build
from app.runners.inline import InlineRunner
from app.services.bucket import Bucket, open_bucket
from app.services.jobs import JobRequest
from app.services.shared import SharedBlobs, key_of, sweep_bucket
from app.services.sweep import Sweeper
from app.settings import Settings
from models.base import sha256
from models.errors import Conflict, NotFound, Unavailable
from tests.buckets import s3, settings_of
from tests.postgres import needs_postgres, new_database, postgres
from tests.support import jsonl, signal

TENANT = "default"
SEEN_SECONDS = 2.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3() as address:
        yield address


@pytest.fixture
def bucket(address: str, tmp_path: Path) -> Bucket:
    found = open_bucket(Settings(data=tmp_path, **settings_of(address)))
    assert found is not None
    return found


def test_an_object_is_created_once(bucket: Bucket) -> None:
    assert bucket.create("a/b", b"first")
    assert not bucket.create("a/b", b"second")
    assert bucket.get("a/b") == b"first"
    assert [one.key for one in bucket.list("a/")] == ["a/b"]
    bucket.delete("a/b")
    assert bucket.age("a/b") is None
    with pytest.raises(NotFound):
        bucket.get("a/b")


class Careless(BaseHTTPRequestHandler):
    """A store that takes every put, whatever its conditions, or answers each with another status."""

    status = 200

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(self.status)

    def do_DELETE(self) -> None:
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def careless(status: int = 200) -> Iterator[str]:
    handler = type("Handler", (Careless,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_store_that_ignores_conditions_is_refused_at_start(tmp_path: Path) -> None:
    with careless() as address, pytest.raises(Conflict, match="If-None-Match"):
        open_bucket(Settings(data=tmp_path, **settings_of(address)))


def test_a_store_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="object store"):
        open_bucket(Settings(data=tmp_path, **settings_of("http://127.0.0.1:9")))


def test_a_bucket_that_is_not_there_is_named(address: str, tmp_path: Path) -> None:
    told = settings_of(address) | {"store": "s3://durians"}
    with pytest.raises(Conflict, match="no s3://durians"):
        open_bucket(Settings(data=tmp_path, **told))


def test_a_store_that_refuses_the_key_is_said_to_do_so(tmp_path: Path) -> None:
    with careless(status=403) as address, pytest.raises(Unavailable, match="store_key"):
        open_bucket(Settings(data=tmp_path, **settings_of(address)))


def test_a_blob_is_fetched_once_and_again_when_its_copy_rots(bucket: Bucket, tmp_path: Path) -> None:
    here, there = SharedBlobs(tmp_path / "here", bucket), SharedBlobs(tmp_path / "there", bucket)
    digest = here.put(b"some bytes")
    assert there.local(digest).read_bytes() == b"some bytes"
    there.path(digest).write_bytes(b"rotten")
    assert there.get(digest) == b"some bytes"
    bucket.delete(key_of("blobs", digest))
    assert there.get(digest) == b"some bytes"
    with pytest.raises(NotFound):
        there.get(sha256(b"never stored"))


def test_the_sweep_takes_what_is_old_and_not_named(bucket: Bucket) -> None:
    kept, stale = sha256(b"kept"), sha256(b"stale")
    for digest in (kept, stale):
        bucket.create(key_of("blobs", digest), b"")
    assert sweep_bucket(bucket, {kept}, grace=60.0) == 0
    time.sleep(1.1)  # ages are told in whole seconds
    assert sweep_bucket(bucket, {kept}, grace=0.0) >= 1
    assert bucket.age(key_of("blobs", kept)) is not None
    assert bucket.age(key_of("blobs", stale)) is None


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'durian.sqlite'}"
        return
    with postgres() as (server, _):
        yield new_database(server)


def test_machines_share_a_database_and_a_bucket(address: str, database: str, tmp_path: Path) -> None:
    """One takes the upload, another trains, two serve each new version: soon, and without a restart."""
    with ExitStack() as stack:
        upload, worker, serve = (_machine(stack, address, database, tmp_path / name) for name in "abc")
        rows = [{"input": signal(i % 2, i), "label": f"class {i % 2}"} for i in range(16)]
        for version in (1, 2):
            file = upload.services.files.create(TENANT, "s.jsonl", jsonl(rows), "fine-tune", None, None)
            request = JobRequest("signal/raw", file.id, suffix="m", method="logistic", seed=version)
            job = upload.services.jobs.create(TENANT, request)
            assert worker.worker.work_once()
            assert worker.services.jobs.get(TENANT, job.id).status == "succeeded"
            published = time.monotonic()
            for service in (upload, serve):
                while (found := _served(service)) != version:
                    assert time.monotonic() - published < SEEN_SECONDS, found
                    time.sleep(0.05)
        _, content = serve.services.files.content(TENANT, file.id)
        assert content == jsonl(rows)
        loaded = serve.services.serving.catalogue.resolve(TENANT, "m")
        assert loaded.manifest.backbone.id == "signal/raw"
        assert Sweeper(serve.services.settings, serve.services.db, grace=0.0).sweep() == 0


def _machine(stack: ExitStack, address: str, database: str, folder: Path) -> Process:
    settings = Settings(data=folder, lanes=1, database=database, **settings_of(address))
    process = build(settings, InlineRunner())
    stack.callback(process.close)
    process.services.registry.start()
    return process


def _served(process: Process) -> int | None:
    try:
        return process.services.serving.catalogue.resolve(TENANT, "m").version
    except NotFound:
        return None


def test_a_folder_as_the_store(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", store=f"file://{tmp_path / 'mounted'}")
    assert settings.blobs == tmp_path / "mounted" / "blobs"
    assert settings.work == tmp_path / "data" / "work"
