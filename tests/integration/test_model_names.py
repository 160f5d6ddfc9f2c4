"""Names of models that are paths, commands or nothing at all name no model."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

NAMES = [
    *("..", "../", "../..", "../../etc/passwd", "/etc/passwd", "//etc/passwd", "....//....//etc/passwd"),
    *("..\\..\\windows", "C:\\boot.ini", "\\\\host\\share", "file:///etc/passwd", "http://127.0.0.1/"),
    *("a/../b", "a/./b", "./a", "a/", "/", "~", "~root", "$HOME", "${PATH}", "`id`", "$(id)", "; rm -rf"),
    *("a\0b", "\0", "a\nb", "a\r\nX: y", "\u202e", "\uff0e\uff0e/", "%2e%2e%2f", "%252e%252e%252f", "a:../b"),
    *("a@../b", "a:-1", "a:99999999999999999999", "a@", ":", "@", "a" * 5_000),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_is_a_path_leads_nowhere(client: TestClient, service_folder: Path, name: str) -> None:
    assert len(NAMES) == 40
    before = {path for path in service_folder.rglob("*") if path.is_dir()}
    escaped = quote(name, safe="")
    body = {"model": name, "input": "x"}
    answers = [
        client.get(f"/v1/models/{escaped}"),
        client.delete(f"/v1/models/{escaped}"),
        client.post("/v1/predictions", json=body),
        client.get(f"/v2/models/{escaped}"),
        client.post(f"/v2/models/{escaped}/infer", json={"inputs": []}),
        client.post("/v1/embeddings", json=body),
        client.get(f"/v1/backbones/{escaped}"),
    ]
    for answer in answers:
        # A client that tidies `..` away asks for another address, which may be there.
        assert answer.status_code in (404, 405, 422, 400) or "/models/" not in answer.url.path, answer.url
        assert answer.status_code < 500
        assert "passwd" not in answer.text
    assert {path for path in service_folder.rglob("*") if path.is_dir()} == before
