"""What schemathesis makes of our OpenAPI page: right and wrong requests to every operation, none a 500."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient

from app.main import create_app
from app.runners.inline import InlineRunner
from app.settings import Settings

ALLOWED = {503, 504, 507}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    limits: dict[str, Any] = {"max_queued_jobs": 2, "lanes": 1}
    app = create_app(Settings(data=folder, **limits), runner=InlineRunner(), worker=False)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def broken(client: TestClient, examples: int, modes: Sequence[Any]) -> tuple[int, list[str]]:
    """How many requests were made, so many of each operation and mode, and those that broke the service."""
    made, found = 0, []
    page = schemathesis.openapi.from_dict(client.get("/openapi.json").json())

    def asked(case: schemathesis.Case) -> None:
        nonlocal made
        request = _as_request(case)
        if request is None:
            return
        made += 1
        answer = client.request(**request)
        if answer.status_code >= 500 and answer.status_code not in ALLOWED:
            found.append(f"{case.method} {case.formatted_path}: {answer.status_code} {answer.text[:200]}")

    for result in page.get_all_operations():
        for mode in modes:
            _run(asked, result.ok(), mode, examples)
    return made, found


def _as_request(case: schemathesis.Case) -> dict[str, Any] | None:
    """The request as a client of HTTP would send it; None where it could not."""
    fields = case.as_transport_kwargs(base_url="http://testserver")
    headers = dict(fields.pop("headers", None) or {})
    headers.pop("Prefer", None)  # to wait for a job is no fault, but takes long
    try:
        made = requests.Request(**fields, headers=headers).prepare()
    except requests.RequestException:
        return None
    body = made.body.encode() if isinstance(made.body, str) else made.body
    names = {name.encode("latin-1"): str(value).encode("latin-1") for name, value in made.headers.items()}
    return {"method": made.method, "url": made.url, "headers": names, "content": body}


def _run(asked: Callable[[schemathesis.Case], None], operation: Any, mode: Any, examples: int) -> None:
    bounded = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with suppress(*_CANNOT):  # an operation without parameters has nothing that could be wrong
        seed(7)(bounded(given(operation.as_strategy(generation_mode=mode))(asked)))()


_CANNOT = (schemathesis.errors.SchemathesisError, Unsatisfiable)


def test_no_operation_breaks(fuzzed: TestClient) -> None:
    made, found = broken(fuzzed, 3, [schemathesis.GenerationMode.POSITIVE])
    assert found == []
    assert made >= 80


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_no_operation_breaks_at_length(fuzzed: TestClient) -> None:
    made, found = broken(fuzzed, 20, list(schemathesis.GenerationMode))
    assert found == []
    assert made >= 1_000
