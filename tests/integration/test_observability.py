"""Metrics with bounded labels, logs that say which request and never what was in it, traces end to end."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app import logs
from app.api.observe import Observe
from app.main import create_app
from app.runners.inline import InlineRunner
from app.services.health import Health
from app.services.requests import Requests
from app.settings import Settings
from app.tracing import TRACING
from tests.support import TEXTS, finished, jsonl, signal

SECRETS = ("MARKTEXT", "MARKLABEL", "MARKNAME", "dk_MARKKEY", "MARKQUERY")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(Settings(data=tmp_path, lanes=1, retry_seconds=0.02), runner=InlineRunner())
    with TestClient(app) as client:
        yield client


def upload(client: TestClient, extra: str = "and more", name: str = "t.jsonl", **headers: str) -> str:
    rows = [*TEXTS, {"input": f"MARKTEXT {extra}", "label": "refund"}]
    answer = client.post("/v1/files", files={"file": (name, jsonl(rows))}, headers=headers)
    return str(answer.json()["id"])


def upload_signals(client: TestClient, **headers: str) -> str:
    rows = [{"input": signal(i % 2, i), "label": str(i % 2)} for i in range(12)]
    answer = client.post("/v1/files", files={"file": ("s.jsonl", jsonl(rows))}, headers=headers)
    return str(answer.json()["id"])


def train(client: TestClient, file: str, model: str = "signal/raw", **headers: str) -> Any:
    body = {"model": model, "training_file": file, "suffix": "m", "method": {"type": "ridge"}}
    return finished(client, client.post("/v1/fine_tuning/jobs", json=body, headers=headers).json())


def samples(client: TestClient) -> dict[str, list[Any]]:
    text = client.get("/metrics").text
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def test_every_promised_metric_is_there_and_no_label_is_a_users_word(client: TestClient) -> None:
    assert train(client, upload_signals(client))["status"] == "succeeded"
    for i in range(40):
        client.get(f"/v1/files/file-{i}")
        client.get(f"/MARKQUERY/{i}")
        client.request(f"VERB{i}", "/v1/files")
    client.post("/v1/predictions", json={"model": "m", "input": signal(0, 1)})
    found = samples(client)
    assert found.keys() >= {
        "durian_request_seconds", "durian_phase_seconds", "durian_batch_size", "durian_waiting_inputs",
        "durian_loaded", "durian_jobs", "durian_features_cached_bytes", "durian_device",
        "durian_evictions", "durian_degraded",
    }  # fmt: skip
    requests = found["durian_request_seconds"]
    routes = {sample.labels["route"] for sample in requests}
    assert {"/v1/files/{file_id}", "/v1/predictions", "none"} <= routes
    assert not any("MARK" in route or "file-" in route for route in routes)
    assert {sample.labels["method"] for sample in requests} <= {"GET", "POST", "OTHER"}
    totals = [s for s in requests if s.name.endswith("_count")]
    asked = [s.value for s in totals if s.labels["route"] == "/v1/files/{file_id}"]
    assert asked == [40.0]
    assert len(totals) < 20
    phases = {s.labels["phase"]: s.value for s in found["durian_phase_seconds"] if s.name.endswith("_count")}
    assert all(phases[phase] > 0 for phase in ("queue", "prepare", "run", "answer"))
    assert next(s.value for s in found["durian_features_cached_bytes"]) > 0


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Json())
    handler.addFilter(lambda record: not record.name.startswith("httpx"))  # the test's own client
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


class Breaking(InlineRunner):
    def start(self, *_: Any) -> Any:
        raise ValueError("could not convert MARKTEXT of MARKLABEL")


def test_logs_are_json_name_request_and_job_and_hold_no_content(
    client: TestClient, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {"authorization": "Bearer dk_MARKKEY_MARKKEY"}
    file = upload(client, name="MARKNAME\r\n.jsonl", **secret)
    rows = [{"input": "MARKTEXT", "label": "MARKLABEL"}, {"input": "MARKTEXT", "label": "other"}]
    client.post("/v1/files", files={"file": ("t.jsonl", jsonl(rows))})
    job = train(client, file, "text/minilm-l6")
    assert job["status"] == "succeeded"
    client.post("/v1/predictions?x=MARKQUERY", json={"model": "m", "input": "MARKTEXT"}, headers=secret)
    client.post("/v1/predictions", content=b'{"model": MARKTEXT')
    client.get("/v1/MARKQUERY?MARKQUERY")
    worker = client.app.state.process.worker  # type: ignore[attr-defined]
    monkeypatch.setattr(worker, "runner", Breaking())
    broken = train(client, upload(client, "twice"), "text/minilm-l6")
    assert broken["error"]["code"] == "internal"
    text = lines.getvalue()
    assert [secret for secret in SECRETS if secret in text] == []
    said = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in said if line["message"] == "request"]
    assert {line["route"] for line in requests} >= {"/v1/files", "/v1/fine_tuning/jobs"}
    assert all(len(line["request_id"]) == 16 for line in requests)
    assert job["id"] in {line.get("job_id") for line in said}
    [crash] = [line for line in said if line.get("error", "").startswith("ValueError")]
    assert (crash["job_id"], crash["level"]) == (broken["id"], "error")
    assert any("test_observability" in place for place in crash["at"])


def test_text_logs_are_one_line_a_message() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "a\nb\r%s", ("c\n2026-01-01 INFO fake",), None)
    assert "\n" not in logs.Text().format(record)


def test_one_trace_from_upload_to_prediction(client: TestClient) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TRACING.use(provider)
    try:
        job = train(client, upload_signals(client, traceparent=PARENT), traceparent=PARENT)
        assert job["status"] == "succeeded"
        ask = {"model": "m", "input": signal(0, 1)}
        client.post("/v1/predictions", json=ask, headers={"traceparent": PARENT})
        client.app.state.process.worker.stop()  # type: ignore[attr-defined]  # its span has ended
    finally:
        TRACING.use(None)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    chain = ["POST /v1/files", "POST /v1/fine_tuning/jobs", "job", "publish", "POST /v1/predictions"]
    assert {format(spans[name].context.trace_id, "032x") for name in chain} == {PARENT.split("-")[1]}
    assert spans["job"].parent.span_id == spans["POST /v1/fine_tuning/jobs"].context.span_id
    assert spans["publish"].parent.span_id == spans["job"].context.span_id
    assert spans["job"].attributes["durian.job_id"] == job["id"]


def test_without_a_tracer_a_span_is_nothing() -> None:
    assert not TRACING.on
    assert TRACING.span("x") is TRACING.span("y")
    assert TRACING.carrier() == {}


def test_observing_a_request_costs_less_than_five_microseconds() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = route
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    class Route:
        path = "/v1/predictions"

    async def send(message: Any) -> None:
        return None

    async def receive() -> Any:
        return {}

    async def seconds(layer: Any) -> float:
        started = time.perf_counter()
        for _ in range(500):
            await layer({"type": "http", "method": "POST", "headers": [], "state": {}}, receive, send)
        return (time.perf_counter() - started) / 500

    async def measure() -> float:
        observed = Observe(app, Requests(), Health((), ()))
        pairs = [(await seconds(observed), await seconds(app)) for _ in range(40)]
        return min(a for a, _ in pairs) - min(b for _, b in pairs)

    route = Route()
    cost = asyncio.run(measure())
    assert cost < 5e-6, f"{cost * 1e6:.1f} µs"
