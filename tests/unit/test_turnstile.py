"""What is refused for the load alone, by the head of a request."""

from __future__ import annotations

import logging

import pytest

from app.api import turnstile
from app.api.load import Load
from app.api.turnstile import Turnstile
from app.services.keys import Identity
from app.services.requests import Requests
from models.errors import Unavailable

KEY = [(b"content-type", b"application/json"), (b"authorization", b"Bearer known")]
PREDICTIONS = ["/v1/predictions", "/v1/embeddings", "/v2/models/m/infer", "/v2/models/m/versions/1/infer"]


class Doorman:
    def known(self, key: str | None) -> Identity | None:
        return Identity("t", "reader") if key == "known" else None

    def identify(self, key: str | None) -> Identity:
        raise AssertionError("the database is for the gate to ask")


class Full(Load):
    """For one tenant."""

    def check(self, tenant: str) -> None:
        if tenant == "t":
            raise Unavailable("too much", code="overloaded")


def of(load: Load, requests: Requests | None = None) -> Turnstile:
    return Turnstile(Doorman(), load, requests or Requests())


@pytest.mark.parametrize("path", PREDICTIONS)
def test_predictions_are_refused_when_there_is_too_much(path: str) -> None:
    refused = of(Full(1.0)).refusal("POST", path, KEY)
    assert refused is not None
    assert refused.code == "overloaded"
    assert of(Load(1.0)).refusal("POST", path, KEY) is None


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/files"), ("GET", "/health"), ("GET", "/v1/predictions")]
)
def test_nothing_else_is(method: str, path: str) -> None:
    assert of(Full(1.0)).refusal(method, path, KEY) is None


def test_who_is_not_known_is_left_to_the_gate() -> None:
    """It may have no key, and then is to hear that."""
    turnstile = of(Full(1.0))
    assert turnstile.refusal("POST", "/v1/predictions", []) is None
    assert turnstile.refusal("POST", "/v1/predictions", [(b"x-api-key", b"other")]) is None
    assert turnstile.refusal("POST", "/v1/predictions", [(b"x-api-key", b"known")]) is not None


def test_refusals_are_counted_and_logged_once_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(turnstile.time, "monotonic", lambda: now[0])
    requests = Requests()
    refusing = of(Full(1.0), requests)
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            refusing.refusal("POST", "/v2/models/secret/infer", KEY)
        now[0] += 1.1
        refusing.refusal("POST", "/v1/predictions", KEY)
    assert [record.getMessage() for record in caplog.records] == [
        "refused 1 requests: more than can be done",
        "refused 50 requests: more than can be done",
    ]
    (family,) = requests.collect()
    counted = {s.labels["route"]: s.value for s in family.samples if s.name.endswith("_count")}
    assert counted == {"/v2/models/{ref}/infer": 50, "/v1/predictions": 1}
