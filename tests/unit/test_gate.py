"""The outermost layer: what gets in, and what an answer always has."""

from __future__ import annotations

import timeit
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.api.bodies import Bodies
from app.api.gate import Gate
from app.api.load import Load
from app.services.keys import Identity
from app.services.rates import Rates
from models.errors import RateLimited, Unauthorized, Unavailable


class Roles:
    """A doorman to whom a role is its own key; those of admins are never in memory."""

    def known(self, key: str | None) -> Identity | None:
        return Identity("t", key) if key in ("reader", "writer") else None  # type: ignore[arg-type]

    def identify(self, key: str | None) -> Identity:
        if key != "admin":
            raise Unauthorized("no")
        return Identity("t", "admin")


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Echoes the size of the body; breaks where it is told to."""
    request = Request(scope, receive)
    if request.url.path.endswith("/break"):
        raise RuntimeError("secret detail")
    if request.url.path.endswith("/half"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("secret detail")
    body = await request.body()
    await JSONResponse({"bytes": len(body), "tenant": getattr(request.state, "tenant", None)})(
        scope, receive, send
    )


@pytest.fixture
def client() -> TestClient:
    return client_of(Rates(0))


def client_of(rates: Rates) -> TestClient:
    gate = Gate(inner, Roles(), Bodies(15, max_upload=20, max_body=10), rates, Load(0.1))
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


def test_the_audit_log_opens_to_admins_alone(client: TestClient) -> None:
    for role, status in {"reader": 403, "writer": 403, "admin": 200, "none": 401}.items():
        headers = {"x-api-key": role, "authorization": ""}
        assert client.get("/v1/audit", headers=headers).status_code == status


def test_a_web_socket_is_closed_before_anything_sees_it(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/predictions"):
        pass


def test_a_tenant_over_its_rate_is_told_when_to_come_back() -> None:
    client = client_of(Rates(0.5))
    assert client.get("/v1/x").status_code == 200
    refused = client.get("/v1/x")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert refused.json()["error"]["code"] == "requests_per_second"
    assert client.get("/health").status_code == 200


def test_the_rate_costs_little_and_is_a_tenants_own() -> None:
    rates = Rates(100)
    for _ in range(100):
        rates.take("a")
    with pytest.raises(RateLimited):
        rates.take("a")
    rates.take("b")
    wide = Rates(1e9)
    assert min(timeit.repeat(lambda: wide.take("a"), number=1_000, repeat=5)) / 1_000 < 10e-6


class Overloaded(Load):
    def check(self, tenant: str) -> None:
        raise Unavailable("too much", code="overloaded")


def test_under_load_predictions_are_refused_and_nothing_else() -> None:
    gate = Gate(inner, Roles(), Bodies(15, max_upload=20, max_body=10), Rates(0), Overloaded(0.1))
    client = TestClient(gate, headers={"authorization": "Bearer writer"})
    for path in ("/v1/predictions", "/v1/embeddings", "/v2/models/m/versions/1/infer"):
        refused = client.post(path, content=b"1", headers={"content-type": "application/json"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    for path in ("/health", "/v1/files", "/v2/models/m"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "path", "status"),
    [
        ("text/plain", "/v1/fine_tuning/jobs", 415),
        ("application/json; charset=latin-1", "/v1/predictions", 415),
        ("application/json; charset=UTF-8", "/v1/predictions", 200),
        ("Application/JSON", "/v1/fine_tuning/jobs", 200),
        ("image/png", "/v1/predictions", 200),
        ("multipart/form-data", "/v1/files", 200),
        ("text/plain", "/v2/models/m/infer", 200),
    ],
)
def test_a_body_is_of_a_type_that_its_route_reads(
    client: TestClient, content_type: str, path: str, status: int
) -> None:
    response = client.post(path, content=b'{"a": 1}', headers={"content-type": content_type})
    assert response.status_code == status


def test_json_has_a_limit_of_its_own(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert client.post("/v1/files", content=b'"' + b"x" * 13 + b'"', headers=headers).status_code == 200
    assert client.post("/v1/files", content=b'"' + b"x" * 14 + b'"', headers=headers).status_code == 413


def test_an_address_with_a_nul_is_refused(client: TestClient) -> None:
    assert client.get("/v1/models/a%00b").status_code == 400
    assert client.get("/v1/models?after=%00").status_code == 400
