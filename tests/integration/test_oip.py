"""The Open Inference Protocol over a socket, asked by `tritonclient` with its defaults."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as aio
import uvicorn
from fastapi import FastAPI, Request, Response
from tritonclient.utils import InferenceServerException

from app.api import oip
from app.engine.engine import Engine
from app.engine.model import LoadedModel
from app.services.catalogue import Catalogue
from app.services.health import Health
from app.services.serving import Serving
from models.manifest import Manifest, Rejection
from tests.trunks import DIMS, POINTS, FakeShelf, FakeTrunk, card, head_onnx, loaded, manifest
from training.novelty import Examples, fit_novelty

TEXT, SIGNAL = card(), card("signal/fake", "signal")
MODELS: dict[str, Manifest] = {
    "colours": manifest(TEXT),
    "tags": manifest(TEXT, 4, task="multilabel"),
    "price": manifest(TEXT, 1, task="regression"),
    "peaks": manifest(SIGNAL, 2, task="regression"),
}
TEXTS = np.array(["my red bike", "a green leaf", "blauer Schließtag"], dtype=object)


def wary(trunk: FakeTrunk) -> LoadedModel:
    """A model to which everything but runs of one letter is unknown."""
    contents = [np.frombuffer(bytes([97 + i % 4] * (1 + i % 3)), np.uint8) for i in range(24)]
    found = fit_novelty(Examples(trunk.run(contents, ["top"])["top"]))
    assert found is not None
    rejection = Rejection(threshold=found[0].threshold, false_alarms=found[1])
    made_for = manifest(TEXT).model_copy(update={"rejection": rejection})
    return LoadedModel.load(made_for, 1, head_onnx(made_for), novelty=found[0].to_bytes())


@pytest.fixture(scope="module")
def trunk() -> FakeTrunk:
    return FakeTrunk(TEXT)


@pytest.fixture(scope="module")
def serving(trunk: FakeTrunk) -> Iterator[Serving]:
    shelf, catalogue = FakeShelf(trunk, FakeTrunk(SIGNAL)), Catalogue()
    for name, made_for in MODELS.items():
        for version in (1, 2):
            catalogue.put_version(
                "acme", name, version, lambda m=made_for, v=version: loaded(m, seed=v, version=v)
            )
        catalogue.set_alias("acme", name, "live", 2)
    catalogue.put_version("acme", "wary", 1, lambda: wary(trunk))
    catalogue.set_alias("acme", "wary", "live", 1)
    engine = Engine(shelf, lanes=1, max_queue=64, open_trunk=shelf.open)
    yield Serving(engine, catalogue)
    engine.close()


@pytest.fixture(scope="module")
def address(serving: Serving) -> Iterator[str]:
    app = FastAPI()
    app.state.services = SimpleNamespace(serving=serving, health=Health((), ()))
    app.include_router(oip.router)

    @app.middleware("http")
    async def identify(request: Request, call_next) -> Response:  # type: ignore[no-untyped-def]
        request.state.tenant = request.headers.get("x-tenant", "acme")
        return await call_next(request)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{address}/v2") as client:
        yield client


def texts(binary: bool = True) -> list[triton.InferInput]:
    sent = triton.InferInput("text", [len(TEXTS)], "BYTES")
    sent.set_data_from_numpy(TEXTS, binary_data=binary)
    return [sent]


def strings(array: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colours")
    assert client.is_model_ready("colours", "1")
    assert not client.is_model_ready("colours", "3")
    assert not client.is_model_ready("shapes")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("colours", "1") == {
        "name": "colours",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "embedding", "datatype": "FP32", "shape": [-1, DIMS["top"]]},
        ],
    }
    peaks = client.get_model_metadata("peaks")
    assert peaks["inputs"] == [{"name": "signal", "datatype": "FP32", "shape": [-1, POINTS]}]
    assert peaks["outputs"][0] == {"name": "value", "datatype": "FP32", "shape": [-1, 2]}
    assert client.get_model_metadata("price")["outputs"][0]["shape"] == [-1]


@pytest.mark.parametrize("binary", [True, False])
def test_a_classification(client: triton.InferenceServerClient, binary: bool) -> None:
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("scores", "label", "embedding")
    ]
    result = client.infer("colours", texts(binary), outputs=outputs, request_id="42")
    response = result.get_response()
    scores = result.as_numpy("scores")
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "colours", "2")
    assert [output["name"] for output in response["outputs"]] == ["scores", "label", "embedding"]
    assert response["parameters"]["digest"] == MODELS["colours"].digest
    assert response["parameters"]["backbone_digest"] == TEXT.digest
    assert scores.shape == (3, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert strings(result.as_numpy("label")) == [f"label-{i}" for i in scores.argmax(axis=1)]
    assert result.as_numpy("embedding").shape == (3, DIMS["top"])


def test_without_outputs_all_but_the_embedding_come(client: triton.InferenceServerClient) -> None:
    result = client.infer("colours", texts())
    assert {output["name"] for output in result.get_response()["outputs"]} == {"label", "scores"}
    assert result.as_numpy("scores").shape == (3, 3)


def test_unknown_comes_to_who_asks_for_it_by_name(
    client: triton.InferenceServerClient, trunk: FakeTrunk
) -> None:
    names = [spec["name"] for spec in client.get_model_metadata("wary")["outputs"]]
    assert names == ["label", "scores", "embedding", "unknown"]
    assert {o["name"] for o in client.infer("wary", texts()).get_response()["outputs"]} == {"label", "scores"}
    for binary in (True, False):
        asked = [triton.InferRequestedOutput("unknown", binary_data=binary)]
        result = client.infer("wary", texts(binary), outputs=asked)
        found = result.as_numpy("unknown")
        assert (found.dtype, found.shape) == (np.dtype(bool), (3,))
        assert found.all()
        assert result.get_response()["outputs"][0]["datatype"] == "BOOL"


def test_a_model_that_cannot_tell_has_no_such_output(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no such output"):
        client.infer("colours", texts(), outputs=[triton.InferRequestedOutput("unknown")])


def test_versions_answer_by_path_and_by_reference(client: triton.InferenceServerClient) -> None:
    first = client.infer("colours", texts(), model_version="1")
    assert first.get_response()["model_version"] == "1"
    np.testing.assert_allclose(
        client.infer("colours:1", texts()).as_numpy("scores"), first.as_numpy("scores"), atol=1e-6
    )
    live = client.infer("colours@live", texts())
    assert live.get_response()["model_version"] == "2"
    assert not np.allclose(live.as_numpy("scores"), first.as_numpy("scores"), atol=1e-3)


def test_the_classification_extension(client: triton.InferenceServerClient) -> None:
    asked = [triton.InferRequestedOutput("scores", class_count=2)]
    top = client.infer("colours", texts(), outputs=asked).as_numpy("scores")
    scores = client.infer("colours", texts()).as_numpy("scores")
    assert top.shape == (3, 2)
    value, index, label = strings(top)[0].split(":")
    assert (int(index), label) == (scores[0].argmax(), f"label-{index}")
    assert float(value) == pytest.approx(scores[0].max(), abs=1e-5)


def test_regression_and_multilabel(client: triton.InferenceServerClient) -> None:
    assert client.infer("price", texts()).as_numpy("value").shape == (3,)
    tags = client.infer("tags", texts())
    likely = tags.as_numpy("scores") >= 0.5
    expected = ["[" + ",".join(f'"label-{i}"' for i in np.flatnonzero(row)) + "]" for row in likely]
    assert strings(tags.as_numpy("label")) == expected
    signals = np.random.default_rng(0).normal(size=(2, POINTS)).astype(np.float32)
    sent = triton.InferInput("signal", [2, POINTS], "FP32")
    sent.set_data_from_numpy(signals)
    assert client.infer("peaks", [sent]).as_numpy("value").shape == (2, 2)


def test_a_raw_body_is_one_input(http: httpx.Client) -> None:
    response = http.post(
        "/models/colours/infer", content=b"my red bike", headers={"Inference-Header-Content-Length": "0"}
    )
    assert response.status_code == 200
    result = triton.InferResult.from_response_body(
        response.content, header_length=int(response.headers["inference-header-content-length"])
    )
    assert result.as_numpy("scores").shape == (1, 3)


def test_statistics_count_requests_inputs_and_batches(
    client: triton.InferenceServerClient, http: httpx.Client
) -> None:
    before = client.get_inference_statistics("tags", "1")["model_stats"][0]
    client.infer("tags:1", texts())
    client.infer("tags:1", texts())
    after = client.get_inference_statistics("tags", "1")["model_stats"][0]
    assert (after["name"], after["version"]) == ("tags", "1")
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 2
    assert after["inference_stats"]["compute_infer"]["ns"] > 0
    assert sum(b["batch_size"] * b["compute_infer"]["count"] for b in after["batch_stats"]) == 6
    everything = http.get("/models/stats").json()["model_stats"]
    assert after in everything
    assert after in http.get("/models/tags/stats").json()["model_stats"]
    assert http.get("/models/stats", headers={"x-tenant": "other"}).json() == {"model_stats": []}


def test_listings(http: httpx.Client, client: triton.InferenceServerClient) -> None:
    assert http.get("/models").json() == {"models": sorted([*MODELS, "wary"])}
    assert http.get("/models", headers={"x-tenant": "other"}).json() == {"models": []}
    index = client.get_model_repository_index()
    assert {"name": "colours", "version": "1", "state": "READY", "reason": ""} in index
    assert len(index) == 2 * len(MODELS) + 1
    assert http.post("/repository/index", content=b"[").status_code == 400


def test_load_is_for_what_is_published_and_unload_for_nothing(
    client: triton.InferenceServerClient, http: httpx.Client
) -> None:
    client.load_model("colours")
    assert client.is_model_ready("colours")
    with pytest.raises(InferenceServerException, match="by /v1"):
        client.load_model("colours", config="{}")
    with pytest.raises(InferenceServerException, match="DELETE /v1/models"):
        client.unload_model("colours")
    assert client.is_model_ready("colours")
    for action in ("load", "unload"):
        assert http.post(f"/repository/models/shapes/{action}").status_code == 404
    assert http.post("/repository/models/colours/load", content=b"[").status_code == 400


def test_requests_in_flight_together_by_the_async_clients(
    client: triton.InferenceServerClient, address: str
) -> None:
    expected = client.infer("colours", texts()).as_numpy("scores")
    asked = [client.async_infer("colours", texts(), request_id=str(i)) for i in range(8)]
    for i, one in enumerate(asked):
        result = one.get_result(timeout=10)
        assert result.get_response()["id"] == str(i)
        np.testing.assert_allclose(result.as_numpy("scores"), expected, atol=1e-5)

    async def together() -> list[aio.InferResult]:
        async with aio.InferenceServerClient(address) as several:
            inputs = [aio.InferInput("text", [len(TEXTS)], "BYTES") for _ in range(8)]
            for one in inputs:
                one.set_data_from_numpy(TEXTS)
            return await asyncio.gather(*(several.infer("colours", [one]) for one in inputs))

    for result in asyncio.run(together()):
        np.testing.assert_allclose(result.as_numpy("scores"), expected, atol=1e-5)


def test_priority_and_timeout_of_the_client_are_taken(client: triton.InferenceServerClient) -> None:
    result = client.infer("colours", texts(), priority=1, timeout=5_000_000)
    assert result.as_numpy("scores").shape == (3, 3)


def body(**changes: object) -> dict[str, object]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red"], **changes}]}


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        (body(name="words"), "one input tensor, text"),
        ({"inputs": body()["inputs"] + body(name="b")["inputs"]}, "one input tensor, text"),  # type: ignore[operator]
        (body(datatype="FP32", data=[1]), "text: expected BYTES, got FP32"),
        (body(shape=[1, 2], data=["a", "b"]), r"text: expected shape [-1], got [1, 2]"),
        (body(data=["  "]), "the text is empty"),
        ({**body(), "outputs": [{"name": "value"}]}, "gives label, scores, embedding"),
        (
            {**body(), "outputs": [{"name": "label", "parameters": {"classification": 1}}]},
            "only scores can be given as classification",
        ),
        (body(shape=[100], data=["red"] * 100), "At most 64 inputs"),
    ],
)
def test_faults_of_the_request_are_named(http: httpx.Client, request_body: object, message: str) -> None:
    response = http.post("/models/colours/infer", json=request_body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert message in response.json()["error"]


def test_a_column_of_texts_is_taken_too(http: httpx.Client) -> None:
    response = http.post("/models/colours/infer", json=body(shape=[2, 1], data=[["red"], ["blue"]]))
    assert response.json()["outputs"][1]["shape"] == [2, 3]


@pytest.mark.parametrize("path", ["shapes", "colours:9", "colours/versions/9", "colours/versions/x", "a@b"])
def test_what_is_not_there_is_404(http: httpx.Client, path: str) -> None:
    responses = [
        http.post(f"/models/{path}/infer", json=body()),
        http.get(f"/models/{path}"),
        http.get(f"/models/{path}/ready"),
        http.get(f"/models/{path}/stats"),
        http.post("/models/colours/infer", json=body(), headers={"x-tenant": "other"}),
    ]
    assert [response.status_code for response in responses] == [404] * 5
    assert all(list(response.json()) == ["error"] for response in responses)


def test_an_unknown_model_is_an_exception_of_the_client(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("shapes", texts())
    assert caught.value.status() == "404"


def test_a_full_queue_is_429_and_a_passed_deadline_504(
    http: httpx.Client, address: str, trunk: FakeTrunk, serving: Serving
) -> None:
    trunk.gate.clear()
    runs = len(trunk.batches)
    try:
        late = http.post("/models/colours/infer", json={**body(), "parameters": {"timeout": 30_000}})
        assert late.status_code == 504
        assert len(trunk.batches) == runs + 1
        waiting = threading.Thread(
            target=lambda: httpx.post(
                f"http://{address}/v2/models/colours/infer", json=body(shape=[60], data=["red"] * 60)
            )
        )
        waiting.start()
        while serving.engine.stats().waiting < 60:
            time.sleep(0.001)
        full = http.post("/models/colours/infer", json=body(shape=[5], data=["red"] * 5))
        assert full.status_code == 429
        assert full.headers["retry-after"] == "1"
    finally:
        trunk.gate.set()
    waiting.join()
