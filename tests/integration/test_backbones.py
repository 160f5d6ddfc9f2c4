"""GET /v1/backbones and /v1/backbones/{id}."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from models.shelf import SHIPPED, Shelf

FIELDS = {"id", "object", "modality", "digest", "parameters", "embedding_dim", "taps", "licence", "source"}


def test_every_backbone_says_what_it_is(client: TestClient) -> None:
    listed = client.get("/v1/backbones").json()
    assert listed["object"] == "list"
    for found in listed["data"]:
        assert set(found) > FIELDS
        assert (found["object"], found["ready"]) == ("backbone", True)
        assert {field for tap in found["taps"] for field in tap} == {"name", "dim", "depth"}
        assert found["default_tap"] in {tap["name"] for tap in found["taps"]}
        assert client.get(f"/v1/backbones/{found['id']}").json() == found
    assert {"image/durian-small", "audio/durian-small", "signal/durian-small"} <= {
        found["id"] for found in listed["data"]
    }


@pytest.mark.parametrize("card", Shelf([SHIPPED]).list(), ids=lambda card: card.id)
def test_a_shipped_one_is_its_card(client: TestClient, card) -> None:  # type: ignore[no-untyped-def]
    found = client.get(f"/v1/backbones/{card.id}").json()
    assert found["digest"] == card.digest
    assert found["embedding_dim"] == card.tap().dim
    assert found["taps"] == [tap.model_dump() for tap in card.taps]


@pytest.mark.parametrize("id", ["none", "image/none", "hub/some/none", "image/durian-small/"])
def test_one_that_is_not_there_is_404(client: TestClient, id: str) -> None:
    answer = client.get(f"/v1/backbones/{id}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "backbone_not_found"
