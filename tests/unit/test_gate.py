"""The outermost layer: what gets in, and what an answer always has."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from app.api.gate import Gate
from app.services.keys import Identity
from models.errors import Unauthorized


def identify(key: str | None) -> Identity:
    if key not in ("reader", "writer"):
        raise Unauthorized("no")
    return Identity("t", key)  # type: ignore[arg-type]


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Echoes the size of the body; breaks where it is told to."""
    request = Request(scope, receive)
    if request.url.path.endswith("/break"):
        raise RuntimeError("secret detail")
    if request.url.path.endswith("/half"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("secret detail")
    body = await request.body()
    await JSONResponse({"bytes": len(body), "tenant": request.state.tenant})(scope, receive, send)


@pytest.fixture
def client() -> TestClient:
    gate = Gate(inner, identify, max_body=10, max_upload=20)
    return TestClient(gate, headers={"authorization": "Bearer writer"})


def test_an_answer_has_a_request_id_and_is_not_sniffed(client: TestClient) -> None:
    response = client.get("/v1/x")
    assert response.json()["tenant"] == "t"
    assert len(response.headers["x-request-id"]) == 16
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/break", "/v2/break"])
def test_what_breaks_is_a_500_that_tells_nothing(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 500
    assert response.headers["x-request-id"]
    assert "secret" not in response.text
    assert isinstance(response.json()["error"], str) == path.startswith("/v2")


def test_half_an_answer_is_cut_off(client: TestClient) -> None:
    with pytest.raises(RuntimeError):
        client.get("/v1/half")


def chunks(n: int) -> Any:
    yield from (b"x" for _ in range(n))


@pytest.mark.parametrize(("path", "limit"), [("/v1/predictions", 10), ("/v1/files", 20)])
def test_a_body_over_its_limit_is_refused_even_in_chunks(client: TestClient, path: str, limit: int) -> None:
    assert client.post(path, content=b"x" * limit).json()["bytes"] == limit
    for body in (b"x" * (limit + 1), chunks(limit + 1)):
        response = client.post(path, content=body)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "\u0661"])
def test_a_length_that_is_no_number_is_refused(client: TestClient, length: str) -> None:
    response = client.post("/v1/files", headers={"content-length": length.encode()}, content=chunks(1))
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files", 200),
        ("POST", "/v1/files", 403),
        ("DELETE", "/v1/models/m", 403),
        ("POST", "/v1/predictions", 200),
        ("POST", "/v2/models/m/infer", 200),
    ],
)
def test_a_reader_may_read_and_predict(client: TestClient, method: str, path: str, status: int) -> None:
    headers = {"authorization": "Bearer reader"}
    assert client.request(method, path, headers=headers).status_code == status
