"""What people send by mistake: a 4xx that names the row or field and the remedy; nothing half-stored."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import TEXTS, Job, jsonl, png, signal

Upload = Callable[..., Any]


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["request_id"] == response.headers["x-request-id"]
    assert error["message"]
    return error


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


def thirty_megapixels() -> bytes:
    """A PNG whose header says 6000 x 5000; its few bytes of data never need decoding."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 6_000, 5_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


LABELLED = {"input": "a text", "label": "a"}


@pytest.mark.parametrize(
    ("name", "data", "statuses", "says"),
    [
        ("empty.jsonl", b"", {422}, "empty"),
        ("wrong.csv", b"sentence,class\nhello,a\n", {422}, "input"),
        ("list.jsonl", jsonl([LABELLED, {"input": "b", "label": ["a", "b"]}]), {422}, "2"),
        ("nan.jsonl", b'{"input": [1.0, NaN], "label": "a"}', {400, 422}, "1"),
        ("type.jsonl", jsonl([LABELLED, {"input": {"what": 1}, "label": "a"}]), {422}, "2"),
        ("strange.exe", b"MZ\x00\x01", {415}, "jsonl"),
        ("corrupt.zip", zipped(a__1_dot_png=png(90)[:60], b__2_dot_png=png(10)), {422}, "a/1.png"),
        ("big.zip", zipped(a__1_dot_png=thirty_megapixels(), b__2_dot_png=png(10)), {413, 422}, "a/1.png"),
        ("cut.zip", zipped(a__1_dot_wav=b"RIFF\x24\x00\x00\x00WAVEfmt "), {422}, "a/1.wav"),
        (
            "lengths.jsonl",
            jsonl([{"input": signal(0, 1), "label": "a"}, {"input": signal(0, 2, 49), "label": "b"}]),
            {422},
            "2",
        ),
    ],
)
def test_a_bad_file_is_refused_and_not_kept(
    client: TestClient, upload: Upload, name: str, data: bytes, statuses: set[int], says: str
) -> None:
    before = len(client.get("/v1/files").json()["data"])
    response = upload(name, data)
    assert response.status_code in statuses, response.text
    error = error_of(response, response.status_code)
    assert says in error["message"]
    assert len(client.get("/v1/files").json()["data"]) == before


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([{"input": f"text {i}", "label": "only"} for i in range(5)], "too_few_classes"),
        ([LABELLED], "too_few_examples"),
        ([{"input": [1.0, 2.0, i], "label": float(i)} for i in range(2)], "too_few_examples"),
        ([{"input": f"text {i}", "label": f"class {i}"} for i in range(10_000)], "too_many_classes"),
    ],
    ids=["one class", "one example", "two values", "10,000 classes"],
)
def test_data_that_makes_no_model_is_refused_before_the_queue(
    client: TestClient, upload: Upload, rows: list[Job], code: str
) -> None:
    file = upload("rows.jsonl", jsonl(rows)).json()
    response = client.post("/v1/fine_tuning/jobs", json={"model": "auto", "training_file": file["id"]})
    error = error_of(response, 422)
    assert error["code"] == code
    assert error["param"] == "training_file"


@pytest.fixture
def texts(upload: Upload) -> str:
    return str(upload("texts.jsonl", jsonl(TEXTS)).json()["id"])


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "text/no-such"}, 404, "model"),
        ({"model": "no-such-model"}, 404, "model"),
        ({"model": "image/pixels"}, 422, "model"),
        ({"training_file": "file-000000000000000000000000"}, 404, "training_file"),
        ({"validation_file": "file-000000000000000000000000"}, 404, "validation_file"),
        ({"method": {"type": "no-such"}}, 422, "method.type"),
        (
            {"method": {"type": "logistic", "logistic": {"hyperparameters": {"nope": 1}}}},
            422,
            "method.logistic.hyperparameters",
        ),
        ({"seed": -1}, 422, "seed"),
        ({"suffix": "!!"}, 422, "suffix"),
        ({"metadata": {"k": 3}}, 422, "metadata.k"),
    ],
)
def test_a_bad_job_names_its_field(
    client: TestClient, texts: str, change: dict[str, Any], status: int, param: str
) -> None:
    body = {"model": "text/minilm-l6", "training_file": texts, **change}
    assert error_of(client.post("/v1/fine_tuning/jobs", json=body), status)["param"] == param


def test_a_job_on_a_deleted_file_is_refused(client: TestClient, texts: str) -> None:
    assert client.delete(f"/v1/files/{texts}").json() == {"id": texts, "object": "file", "deleted": True}
    response = client.post("/v1/fine_tuning/jobs", json={"model": "auto", "training_file": texts})
    assert "training_file" in error_of(response, 404)["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/file-0",
        "/v1/files/file-0/content",
        "/v1/fine_tuning/jobs/ftjob-0",
        "/v1/fine_tuning/jobs/ftjob-0/events",
        "/v1/fine_tuning/jobs/ftjob-0/report",
        "/v1/fine_tuning/jobs/ftjob-0/checkpoints",
        "/v1/models/none",
        "/v1/models/none:3",
        "/v1/models/none@best",
        "/v1/models/none/versions",
        "/v1/backbones/none",
        "/v1/datasets/dataset-0",
        "/v1/datasets/dataset-0/examples",
        "/v1/nothing",
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    assert error_of(client.get(path), 404)["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"model": "m"}', 422),
        (b'{"input": "x"}', 422),
        (b'{"model": 3, "input": "x"}', 422),
        (b'{"model": "no-such", "input": "x"}', 404),
        (b'{"model": "no-such", "input": []}', 422),
        (b'{"model": "m", "input": NaN}', 400),
        (b'{"model": "m", "input": "x", "top_k": 0}', 422),
        (b'{"model": "m", "input": "x", "nope": 1}', 400),
        (b'{"model": "m", "input": "\\ud800"}', 400),
    ],
)
def test_a_bad_prediction_request(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/v1/predictions", content=body, headers={"content-type": "application/json"})
    error_of(response, status)


def test_a_bad_input_is_named_by_its_place(client: TestClient, fit: Callable[..., Job]) -> None:
    fit("texts.jsonl", jsonl(TEXTS), suffix="bad-input")
    body = {"model": "bad-input", "input": ["fine", "", "also fine"]}
    assert "input 1" in error_of(client.post("/v1/predictions", json=body), 422)["message"]


def test_compressed_bodies_are_not_read(client: TestClient) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    error_of(client.post("/v1/predictions", content=b"\x1f\x8b", headers=headers), 415)


def test_a_message_never_echoes_the_input(client: TestClient) -> None:
    body = {"model": "text/minilm-l6", "training_file": "SECRET-VALUE", "suffix": 5}
    assert "SECRET-VALUE" not in client.post("/v1/fine_tuning/jobs", json=body).text


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "text/none", "input": "x"}, 404, None),
        ({"model": "text/minilm-l6", "input": ""}, 422, "input 0"),
        ({"model": "text/minilm-l6", "input": []}, 422, "input"),
        ({"model": "text/minilm-l6", "input": "x", "tap": "none"}, 400, "tap"),
        ({"model": "text/minilm-l6", "input": "x", "dimensions": 3}, 422, "dimensions"),
        ({"model": "image/pixels", "input": "bm90IGFuIGltYWdl"}, 415, "input 0"),
    ],
)
def test_a_bad_embedding_request(
    client: TestClient, body: dict[str, Any], status: int, param: str | None
) -> None:
    error = error_of(client.post("/v1/embeddings", json=body), status)
    assert param is None or error["param"] == param


def test_an_empty_body_in_chunks_is_no_json(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/predictions", content=iter([b""]), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
