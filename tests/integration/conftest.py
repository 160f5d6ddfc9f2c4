"""A whole service in the test's process: real routes, database, engine and training, jobs in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.runners.inline import InlineRunner
from app.settings import Settings
from tests.oip_service import OipService, oip_service_of
from tests.support import Job, finished


@pytest.fixture(scope="session")
def service_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("durian")


@pytest.fixture(scope="session")
def client(service_folder: Path) -> Iterator[TestClient]:
    """One service for all tests: each test uses names of its own."""
    settings = Settings(data=service_folder, lanes=1, lease_seconds=60)
    with TestClient(create_app(settings, runner=InlineRunner())) as client:
        yield client


@pytest.fixture
def upload(client: TestClient) -> Callable[..., Any]:
    """Post a file and give the response."""

    def post(name: str, data: bytes, **fields: str) -> Any:
        files = {"file": (name, data)}
        return client.post("/v1/files", files=files, data={"purpose": "fine-tune", **fields})

    return post


@pytest.fixture
def fit(client: TestClient, upload: Callable[..., Any]) -> Callable[..., Job]:
    """Upload a file, run a job on it to its end, and give the job."""

    def run(name: str, data: bytes, fields: dict[str, str] | None = None, **body: Any) -> Job:
        file = upload(name, data, **(fields or {}))
        assert file.status_code == 200, file.text
        body = {"model": "auto", "training_file": file.json()["id"], **body}
        job = client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"})
        assert job.status_code == 200, job.text
        return finished(client, job.json())

    return run


@pytest.fixture
def oip_service() -> Iterator[OipService]:
    with oip_service_of() as service:
        yield service
