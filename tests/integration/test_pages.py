"""What a browser opens: every page works with no network but this service."""

from __future__ import annotations

import re

from starlette.testclient import TestClient


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(wanted) >= 2
    for address in wanted:
        assert address.startswith("/"), address
        assert client.get(address).status_code == 200, address


def test_the_start_page_leads_to_the_documentation(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


def test_every_operation_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert "/v1/predictions" in paths
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path}"


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_no_reference_leads_nowhere(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    schemas = {f"#/components/schemas/{name}" for name in page["components"]["schemas"]}
    assert references(page) <= schemas


def test_metrics_are_in_the_text_format(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert "# TYPE durian_inputs_total counter" in text
    assert 'durian_device{device="' in text
