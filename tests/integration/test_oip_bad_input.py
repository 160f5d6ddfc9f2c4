"""Bad requests over the Open Inference Protocol: refused at once, and those in flight never notice."""

from __future__ import annotations

import json
import struct
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from tests.oip_service import OipService

TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red"]}
SIGNAL = {"name": "signal", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}
JSON_LENGTH = "inference-header-content-length"


def infer(tensor: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"json": {"inputs": [tensor], **more}}


def binary(tensor: dict[str, Any], blob: bytes, length: int | None = None) -> dict[str, Any]:
    """A request with raw bytes behind its JSON; `length` is what the header says of that, if untrue."""
    head = json.dumps({"inputs": [tensor]}).encode()
    return {"content": head + blob, "headers": {JSON_LENGTH: str(len(head) if length is None else length)}}


def raw(name: str, datatype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


NAN = struct.pack("<8f", *[0.0] * 7, float("nan"))
HUGE = 100_000
BAD: dict[str, tuple[str, dict[str, Any], int]] = {
    "wrong shape": ("peaks", infer({**SIGNAL, "shape": [1, 7], "data": [0.5] * 7}), 400),
    "wrong rank": ("peaks", infer({**SIGNAL, "shape": [8]}), 400),
    "data that is not of its shape": ("peaks", infer({**SIGNAL, "data": [0.5] * 9}), 400),
    "wrong datatype": ("colours", infer({**TEXT, "datatype": "FP32", "data": [1.0]}), 400),
    "unknown datatype": ("colours", infer({**TEXT, "datatype": "FP8"}), 400),
    "NaN": ("peaks", binary(raw("signal", "FP32", [1, 8], 32), NAN), 400),
    "infinity beyond FP32": ("peaks", infer({**SIGNAL, "data": [1e39] * 8}), 400),
    "an empty batch": ("colours", infer({**TEXT, "shape": [0], "data": []}), 400),
    "a batch of 100,000": ("colours", infer({**TEXT, "shape": [HUGE], "data": ["x"] * HUGE}), 400),
    "a binary batch of 100,000": (
        "colours",
        binary(raw("text", "BYTES", [HUGE], 5 * HUGE), b"\1\0\0\0x" * HUGE),
        400,
    ),
    "more bytes than are there": ("peaks", binary(raw("signal", "FP32", [1, 8], 32), b"\0" * 16), 400),
    "fewer bytes than are there": ("peaks", binary(raw("signal", "FP32", [1, 8], 32), b"\0" * 64), 400),
    "a size that is not of its shape": ("peaks", binary(raw("signal", "FP32", [1, 8], 16), b"\0" * 16), 400),
    "an element past the end": ("colours", binary(raw("text", "BYTES", [1], 5), b"\xff\0\0\0x"), 400),
    "JSON said to be longer than the body": (
        "colours",
        binary(raw("text", "BYTES", [1], 5), b"\1\0\0\0x", HUGE),
        400,
    ),
    "JSON said to be shorter than it is": (
        "colours",
        binary(raw("text", "BYTES", [1], 5), b"\1\0\0\0x", 9),
        400,
    ),
    "an unknown output": ("colours", infer(TEXT, outputs=[{"name": "colour"}]), 400),
    "a wrong name": ("colours", infer({**TEXT, "name": "words"}), 400),
    "no text": ("colours", infer({**TEXT, "data": [" "]}), 400),
    "no JSON": ("colours", {"content": b"\x80\x81"}, 400),
    "a negative timeout": ("colours", infer(TEXT, parameters={"timeout": -1}), 400),
    "an unknown model": ("shapes", infer(TEXT), 404),
    "an unknown version": ("colours/versions/9", infer(TEXT), 404),
}


def good(client: httpx.Client, number: int) -> bytes:
    texts = [f"request {number} text {i} " + "x" * (number * i) for i in range(1 + number % 3)]
    tensor = {**TEXT, "shape": [len(texts)], "data": texts}
    body = {"inputs": [tensor], "outputs": [{"name": "scores", "parameters": {"binary_data": True}}]}
    answer = client.post("/models/colours/infer", json=body)
    assert answer.status_code == 200
    return answer.content


def together(service: OipService, clients: int) -> list[Future[bytes]]:
    """Requests that wait behind one that is held, in an order that is always the same."""
    service.trunk.gate.clear()
    pool, runs = ThreadPoolExecutor(clients + 1), len(service.trunk.batches)
    asked = [pool.submit(good, service.client, 0)]
    service.until(lambda: len(service.trunk.batches) > runs)
    for number in range(1, clients + 1):
        before = service.engine.stats().waiting
        asked.append(pool.submit(good, service.client, number))
        service.until(lambda before=before: service.engine.stats().waiting > before)
    pool.shutdown(wait=False)
    return asked


def test_bad_requests_are_refused_while_others_wait_and_change_nothing_for_them(
    oip_service: OipService,
) -> None:
    calm_requests = together(oip_service, 8)
    oip_service.trunk.gate.set()
    calm = [one.result(10) for one in calm_requests]
    runs = len(oip_service.trunk.batches)

    in_flight = together(oip_service, 8)
    waiting = oip_service.engine.stats().waiting
    for what, (model, request, status) in BAD.items():
        started = time.perf_counter()
        answer = oip_service.client.post(f"/models/{model}/infer", **request)
        seconds = time.perf_counter() - started
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), what
        assert seconds < 2, what  # none waits for a lane, which is held
        assert oip_service.engine.stats().waiting == waiting, what
    oip_service.trunk.gate.set()
    assert [one.result(10) for one in in_flight] == calm
    assert oip_service.trunk.batches[runs:] == oip_service.trunk.batches[:runs]


def test_an_input_that_does_not_decode_leaves_the_batch_as_it_was(oip_service: OipService) -> None:
    calm_requests = together(oip_service, 5)
    oip_service.trunk.gate.set()
    calm = [one.result(10) for one in calm_requests]

    in_flight = together(oip_service, 5)
    with ThreadPoolExecutor(1) as pool:
        tensor = {**TEXT, "shape": [2], "data": ["fine", "bad row"]}
        bad = pool.submit(oip_service.client.post, "/models/colours/infer", json={"inputs": [tensor]})
        before = oip_service.engine.stats().waiting
        oip_service.until(lambda: oip_service.engine.stats().waiting > before or before > 7)
        oip_service.trunk.gate.set()
        assert bad.result(10).status_code == 400
    assert [one.result(10) for one in in_flight] == calm


def test_a_version_deleted_in_flight_answers_what_it_was_asked(oip_service: OipService) -> None:
    request = infer(TEXT)
    expected = oip_service.client.post("/models/colours/versions/1/infer", **request).json()
    oip_service.trunk.gate.clear()
    runs = len(oip_service.trunk.batches)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(oip_service.client.post, "/models/colours/versions/1/infer", **request)
        oip_service.until(lambda: len(oip_service.trunk.batches) > runs)
        oip_service.catalogue.remove_version("acme", "colours", 1)
        assert oip_service.client.post("/models/colours/versions/1/infer", **request).status_code == 404
        oip_service.trunk.gate.set()
        answer = asked.result(10)
    assert (answer.status_code, answer.json()) == (200, expected)
    assert oip_service.client.post("/models/colours/infer", **request).json()["model_version"] == "2"


def test_a_queue_that_is_full_is_429_and_an_engine_that_closes_503(oip_service: OipService) -> None:
    oip_service.trunk.gate.clear()
    runs = len(oip_service.trunk.batches)
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(oip_service.client.post, "/models/colours/infer", **infer(TEXT))
        oip_service.until(lambda: len(oip_service.trunk.batches) > runs)
        many = {**TEXT, "shape": [60], "data": ["red"] * 60}
        waits = pool.submit(oip_service.client.post, "/models/colours/infer", **infer(many))
        oip_service.until(lambda: oip_service.engine.stats().waiting == 60)
        full = oip_service.client.post(
            "/models/colours/infer", **infer({**many, "shape": [5], "data": ["red"] * 5})
        )
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")
        oip_service.trunk.gate.set()
        assert {held.result(10).status_code, waits.result(10).status_code} == {200}
    oip_service.engine.close()
    closed = oip_service.client.post("/models/colours/infer", **infer(TEXT))
    assert (closed.status_code, closed.headers["retry-after"]) == (503, "1")
