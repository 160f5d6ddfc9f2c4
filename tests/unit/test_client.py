"""The Python client against a mock transport: what each call sends, what it makes of the answer."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import client as package
from app.client import ApiError, AsyncClient, Client, ConnectionFailed, WaitTimeout
from app.client.errors import (
    AuthenticationError,
    BadRequest,
    Conflict,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
)
from app.client.retry import Retry

Handler = Callable[[httpx.Request], httpx.Response]
FAST = Retry(attempts=3, backoff=0.0)
JOB = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "running", "model": "auto", "created_at": 1}
DONE = {**JOB, "status": "succeeded", "fine_tuned_model": "intents:1"}
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "labels": {"a": 1},
    "later": "kept",
}
MODEL = {"id": "intents:1", "object": "model", "created": 1, "owned_by": "t", "version": 1}
ALIAS = {"object": "model.alias", "model": "intents", "alias": "live", "version": 1}
DATASET = {"id": "ds-1", "name": "d", "modality": "text", "task": "classification"}
BACKBONE = {
    "id": "text/minilm-l6",
    "modality": "text",
    "digest": "0",
    "parameters": 1,
    "embedding_dim": 2,
    "taps": [{"name": "mean", "dim": 2, "depth": 1.0}],
    "licence": "Apache-2.0",
    "source": "somewhere",
}
PREDICTIONS = {
    "id": "pred-1",
    "model": "intents",
    "version": 1,
    "digest": "0",
    "data": [{"index": 0, "label": "a", "score": 0.9, "scores": [{"label": "a", "score": 0.9}]}],
}
EMBEDDINGS = {"model": "text/minilm-l6", "data": [{"index": 0, "embedding": [0.5, 1.0]}]}


class Recorder:
    """Answers with the given responses in turn (the last one for ever) and keeps the requests."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    @property
    def body(self) -> Any:
        return json.loads(self.last.content)


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://durian.test", transport=httpx.MockTransport(handler), retry=FAST, **options)


def page(item: Any) -> dict[str, Any]:
    return {"object": "list", "data": [item], "has_more": False}


JOBS = "/v1/fine_tuning/jobs"
CALLS: list[tuple[Callable[[Client], Any], str, str, Any]] = [
    (lambda c: c.files.list(after="file-0", limit=2), "GET", "/v1/files?after=file-0&limit=2", page(FILE)),
    (lambda c: c.files.retrieve("file-1"), "GET", "/v1/files/file-1", FILE),
    (lambda c: c.files.delete("file-1"), "DELETE", "/v1/files/file-1", {"id": "file-1", "deleted": True}),
    (lambda c: c.datasets.create("d", modality="text"), "POST", "/v1/datasets", DATASET),
    (lambda c: c.datasets.retrieve("ds-1"), "GET", "/v1/datasets/ds-1", DATASET),
    (lambda c: c.datasets.list(limit=1), "GET", "/v1/datasets?limit=1", page(DATASET)),
    (lambda c: c.datasets.delete("ds-1"), "DELETE", "/v1/datasets/ds-1", {"id": "ds-1"}),
    (
        lambda c: c.datasets.examples("ds-1", label="a"),
        "GET",
        "/v1/datasets/ds-1/examples?label=a",
        page({"id": "ex-1", "label": "a"}),
    ),
    (lambda c: c.datasets.delete_example("ds-1", "ex-1"), "DELETE", "/v1/datasets/ds-1/examples/ex-1", {}),
    (lambda c: c.jobs.create("auto", "file-1"), "POST", JOBS, JOB),
    (lambda c: c.jobs.retrieve("ftjob-1"), "GET", f"{JOBS}/ftjob-1", JOB),
    (lambda c: c.jobs.list(metadata={"k": "v"}), "GET", f"{JOBS}?metadata%5Bk%5D=v", page(JOB)),
    (lambda c: c.jobs.cancel("ftjob-1"), "POST", f"{JOBS}/ftjob-1/cancel", JOB),
    (
        lambda c: c.jobs.events("ftjob-1", limit=5),
        "GET",
        f"{JOBS}/ftjob-1/events?limit=5",
        page({"id": "ev-1", "created_at": 1, "message": "hello"}),
    ),
    (
        lambda c: c.jobs.checkpoints("ftjob-1"),
        "GET",
        f"{JOBS}/ftjob-1/checkpoints",
        page(
            {
                "id": "cp-1",
                "fine_tuned_model_checkpoint": "intents:1",
                "fine_tuning_job_id": "ftjob-1",
                "step_number": 1,
            }
        ),
    ),
    (lambda c: c.jobs.report("ftjob-1"), "GET", f"{JOBS}/ftjob-1/report", {"estimate": 1}),
    (lambda c: c.methods(), "GET", "/v1/fine_tuning/methods", page({"name": "ridge"})),
    (lambda c: c.models.list(), "GET", "/v1/models", page(MODEL)),
    (lambda c: c.models.retrieve("intents@live"), "GET", "/v1/models/intents@live", MODEL),
    (lambda c: c.models.delete("intents:1"), "DELETE", "/v1/models/intents:1", {"id": "intents:1"}),
    (lambda c: c.models.versions("intents"), "GET", "/v1/models/intents/versions", page(MODEL)),
    (lambda c: c.models.set_alias("intents", "live", 1), "PUT", "/v1/models/intents/aliases/live", ALIAS),
    (lambda c: c.models.delete_alias("intents", "old"), "DELETE", "/v1/models/intents/aliases/old", {}),
    (lambda c: c.backbones.list(), "GET", "/v1/backbones", page(BACKBONE)),
    (lambda c: c.backbones.retrieve("text/minilm-l6"), "GET", "/v1/backbones/text/minilm-l6", BACKBONE),
    (lambda c: c.predict("intents", "hello"), "POST", "/v1/predictions", PREDICTIONS),
    (lambda c: c.embeddings("text/minilm-l6", ["a"]), "POST", "/v1/embeddings", EMBEDDINGS),
    (
        lambda c: c.recommend("file-1", unlabelled_file="file-2"),
        "POST",
        "/v1/recommendations",
        {"setting": {"name": "few-shot", "why": "So."}, "candidates": []},
    ),
    (lambda c: c.health(), "GET", "/v2/health/ready", {"ready": True}),
]


@pytest.mark.parametrize(("call", "method", "target", "answer"), CALLS)
def test_a_call_is_one_request_and_parses_its_answer(
    call: Callable[[Client], Any], method: str, target: str, answer: Any
) -> None:
    recorder = Recorder(answer)
    result = call(client(recorder))
    assert recorder.last.method == method
    assert recorder.last.url.raw_path.decode() == target
    parsed = result if isinstance(result, dict) else json.loads(result.model_dump_json())
    assert answer.items() <= {**parsed, "data": answer.get("data")}.items()


@pytest.mark.parametrize(("call", "method", "target", "answer"), CALLS)
def test_the_asynchronous_client_does_the_same(
    call: Callable[[Any], Any], method: str, target: str, answer: Any
) -> None:
    recorder = Recorder(answer)

    async def run() -> Any:
        async with AsyncClient("http://durian.test", transport=httpx.MockTransport(recorder)) as api:
            return await call(api)

    assert asyncio.run(run()) == call(client(Recorder(answer)))
    assert (recorder.last.method, recorder.last.url.raw_path.decode()) == (method, target)


def test_results_are_frozen_and_keep_fields_of_a_newer_service() -> None:
    file = client(Recorder(FILE)).files.retrieve("file-1")
    assert file.model_extra == {"object": "file", "later": "kept"}
    with pytest.raises(ValueError, match="frozen"):
        file.filename = "other"


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    recorder = Recorder(MODEL)
    client(recorder).models.retrieve("a?b=c#d e")
    assert recorder.last.url.raw_path == b"/v1/models/a%3Fb%3Dc%23d%20e"


# --- bodies -----------------------------------------------------------------------------------


def test_an_upload_is_multipart_with_its_name_and_fields(tmp_path: Path) -> None:
    recorder = Recorder(FILE)
    path = tmp_path / "intents.jsonl"
    path.write_bytes(b'{"input": "x", "label": "y"}')
    client(recorder).files.create(path, task="classification")
    body = recorder.last.content
    assert recorder.last.headers["content-type"].startswith("multipart/form-data")
    assert b'name="file"; filename="intents.jsonl"' in body
    assert b'name="purpose"\r\n\r\nfine-tune' in body
    assert b'name="task"\r\n\r\nclassification' in body
    assert b'name="modality"' not in body
    assert path.read_bytes() in body


def test_bytes_are_uploaded_under_the_given_name() -> None:
    recorder = Recorder(FILE)
    client(recorder).files.create(b"a,b", filename="rows.csv")
    assert b'filename="rows.csv"' in recorder.last.content


def test_content_is_the_bytes_of_the_upload() -> None:
    assert client(Recorder(httpx.Response(200, content=b"\x00raw"))).files.content("file-1") == b"\x00raw"


def test_a_job_carries_a_method_and_only_what_was_given() -> None:
    recorder = Recorder(JOB)
    client(recorder).jobs.create("auto", "file-1", method="ridge", hyperparameters={"l2": 1.0}, seed=0)
    assert recorder.body == {
        "model": "auto",
        "training_file": "file-1",
        "method": {"type": "ridge", "ridge": {"hyperparameters": {"l2": 1.0}}},
        "seed": 0,
    }


def test_waiting_for_a_job_is_a_preference_and_lengthens_the_timeout() -> None:
    recorder = Recorder(DONE)
    client(recorder, timeout=10.0).jobs.create("auto", "file-1", wait=30)
    assert recorder.last.headers["prefer"] == "wait=30"
    assert recorder.last.extensions["timeout"]["read"] == 40.0


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("hello", ["hello"]),
        (["a", "b"], ["a", "b"]),
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ({"grid": [0, 1], "values": [1, 2]}, [{"grid": [0, 1], "values": [1, 2]}]),
        ([b"\x00\x01", "data:image/png;base64,AA=="], ["AAE=", "data:image/png;base64,AA=="]),
    ],
)
def test_inputs_travel_as_json(given: Any, sent: Any) -> None:
    recorder = Recorder(PREDICTIONS)
    client(recorder).predict("intents", given, top_k=3)
    assert recorder.body == {"model": "intents", "top_k": 3, "input": sent}


def test_an_array_is_sent_as_its_numbers() -> None:
    np = pytest.importorskip("numpy")
    recorder = Recorder(PREDICTIONS)
    client(recorder).predict("spectra", np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert recorder.body["input"] == [[1.0, 2.0], [3.0, 4.0]]
    client(recorder).predict("spectra", {"values": np.array([1.5])})
    assert recorder.body["input"] == [{"values": [1.5]}]


def test_files_and_bytes_travel_as_multipart(tmp_path: Path) -> None:
    recorder = Recorder(PREDICTIONS)
    path = tmp_path / "seven.png"
    path.write_bytes(b"\x89PNG")
    client(recorder).predict("digits", [path, b"\xff\xd8"], return_embedding=True)
    body = recorder.last.content
    assert body.count(b'; name="file"') == 2
    assert b'filename="seven.png"' in body
    assert b'name="model"\r\n\r\ndigits' in body
    assert b'name="return_embedding"\r\n\r\ntrue' in body


def test_examples_are_json_rows_or_files_with_their_labels() -> None:
    recorder = Recorder({"data": [], "duplicates": 1})
    added = client(recorder).datasets.add("ds-1", [("hi", "greet"), {"input": b"\x00", "label": None}])
    assert added.duplicates == 1
    assert recorder.body == [
        {"input": "hi", "label": "greet"},
        {"input": base64.b64encode(b"\x00").decode(), "label": None},
    ]
    client(recorder).datasets.add("ds-1", [(b"\x01", "cat"), (b"\x02", "dog")])
    assert b'name="label"\r\n\r\ncat' in recorder.last.content
    assert b'name="label"\r\n\r\ndog' in recorder.last.content
    assert recorder.last.content.count(b'; name="file"') == 2


def test_examples_sent_to_a_model_name_the_backbone_and_the_wait() -> None:
    recorder = Recorder({"job": DONE, "model": MODEL})
    taught = client(recorder).models.add_examples("m", [("hi", "a")], backbone="text/minilm-l6", wait=30)
    assert recorder.last.url.raw_path == b"/v1/models/m/examples?backbone=text%2Fminilm-l6"
    assert recorder.last.headers["prefer"] == "wait=30"
    assert taught.job.finished
    assert taught.model is not None
    assert taught.model.version == 1


def test_the_report_is_a_page_on_request() -> None:
    recorder = Recorder(httpx.Response(200, html="<html>"))
    assert client(recorder).jobs.report_html("ftjob-1") == "<html>"
    assert recorder.last.headers["accept"] == "text/html"


# --- address and key ----------------------------------------------------------------------------


def test_the_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURIAN_URL", "http://elsewhere:9000")
    monkeypatch.setenv("DURIAN_API_KEY", "dk_secret")
    recorder = Recorder(page(MODEL))
    Client(transport=httpx.MockTransport(recorder)).models.list()
    assert recorder.last.url.host == "elsewhere"
    assert recorder.last.headers["authorization"] == "Bearer dk_secret"


def test_without_an_environment_the_address_is_loopback_and_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURIAN_URL", raising=False)
    monkeypatch.delenv("DURIAN_API_KEY", raising=False)
    recorder = Recorder(page(MODEL))
    Client(transport=httpx.MockTransport(recorder)).models.list()
    assert str(recorder.last.url) == "http://127.0.0.1:8000/v1/models"
    assert "authorization" not in recorder.last.headers


# --- errors and retries -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, AuthenticationError),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, BadRequest),
        (415, BadRequest),
        (422, BadRequest),
        (429, RateLimited),
        (500, ServerError),
        (503, Unavailable),
        (507, ServerError),
    ],
)
def test_each_status_is_an_error_of_its_kind(status: int, kind: type[ApiError]) -> None:
    body = {"message": "Row 3 has no label.", "type": "t", "param": "file", "code": "bad", "request_id": "r1"}
    with pytest.raises(kind) as caught:
        client(Recorder(httpx.Response(status, json={"error": body}))).models.list()
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.param, error.request_id) == (status, "bad", "file", "r1")
    assert str(error) == error.message == "Row 3 has no label."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": "unknown model"}', "unknown model"),
        (b"<html>", "The service answered 502."),
        (b"[]", None),
    ],
)
def test_an_error_of_another_shape_still_has_a_message(content: bytes, message: str | None) -> None:
    answer = httpx.Response(502, content=content, headers={"x-request-id": "r2"})
    with pytest.raises(ServerError, match=message or "502") as caught:
        client(Recorder(answer)).models.list()
    assert caught.value.request_id == "r2"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_after_retry_after(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    recorder = Recorder(
        httpx.Response(status, headers={"retry-after": "2"}),
        httpx.Response(status, headers={"retry-after": "3600"}),
        JOB,
    )
    client(recorder).jobs.create("auto", "file-1")
    assert slept == [2.0, FAST.longest]
    keys = {request.headers["idempotency-key"] for request in recorder.requests}
    assert len(recorder.requests) == 3
    assert len(keys) == 1


def test_two_jobs_have_two_idempotency_keys() -> None:
    recorder = Recorder(JOB)
    api = client(recorder)
    api.jobs.create("auto", "file-1")
    api.jobs.create("auto", "file-1")
    api.jobs.create("auto", "file-1", idempotency_key="mine")
    keys = [request.headers["idempotency-key"] for request in recorder.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_a_busy_service_is_not_asked_for_ever() -> None:
    recorder = Recorder(httpx.Response(429))
    with pytest.raises(RateLimited):
        client(recorder).models.list()
    assert len(recorder.requests) == 1 + FAST.attempts


def test_a_broken_connection_is_repeated_where_that_is_safe() -> None:
    recorder = Recorder(httpx.ReadError("reset"), page(MODEL))
    assert client(recorder).models.list().data
    upload = Recorder(httpx.ReadError("reset"), FILE)
    with pytest.raises(ConnectionFailed):
        client(upload).files.create(b"x", filename="x.jsonl")
    assert len(upload.requests) == 1


def test_a_service_that_is_not_there_is_named_with_the_remedy() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ConnectionFailed, match=r"at http://durian\.test\. Start one with `durian serve`"):
        client(refuse).models.list()


def test_a_service_that_is_not_ready_is_no_error() -> None:
    recorder = Recorder(httpx.Response(503, json={"ready": False}))
    assert client(recorder).health().ready is False
    assert len(recorder.requests) == 1


# --- server-sent events -------------------------------------------------------------------------


ENDED = b"event: fine_tuning.job\ndata: " + json.dumps(DONE).encode() + b"\n\n"


def sse(*events: int) -> bytes:
    """Events with these ids, their data over two lines, with a comment between them."""
    return b": keep-alive\n\n".join(
        b'event: fine_tuning.job.event\nid: ev-%d\ndata: {"id": "ev-%d", "created_at": 1,\n' % (n, n)
        + b'data:  "message": "step %d"}\n\n' % n
        for n in events
    )


class Breaking(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.ReadError("reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content
        raise httpx.ReadError("reset")


class Streams:
    """Gives out one stream a connection (the last one for ever); notes after which event each was asked."""

    def __init__(self, *streams: Any) -> None:
        self.streams = list(streams)
        self.asked_after: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == f"{JOBS}/ftjob-1/events"
        assert request.headers["accept"] == "text/event-stream"
        self.asked_after.append(request.headers.get("last-event-id"))
        stream = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        if isinstance(stream, int):
            return httpx.Response(stream)
        body = {"content": stream} if isinstance(stream, bytes) else {"stream": stream}
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, **body)


def interrupted() -> Streams:
    half = b'id: ev-4\ndata: {"id": "half'
    return Streams(sse(1, 2), Breaking(sse(3) + half), 503, sse(4, 5) + ENDED)


def test_events_survive_broken_connections_without_loss_or_repetition() -> None:
    service = interrupted()
    messages = [event.message for event in client(service).jobs.stream("ftjob-1")]
    assert messages == [f"step {n}" for n in (1, 2, 3, 4, 5)]
    assert service.asked_after == [None, "ev-2", "ev-3", "ev-3"]


def test_the_asynchronous_stream_does_the_same() -> None:
    service = interrupted()
    seen: list[Any] = []

    async def run() -> tuple[str, list[str]]:
        transport = httpx.MockTransport(service)
        async with AsyncClient("http://durian.test", transport=transport, retry=FAST) as api:
            job = await api.jobs.wait("ftjob-1", seen.append)
            return job.status, [event.id async for event in api.jobs.stream("ftjob-1", after="ev-7")]

    assert asyncio.run(run()) == ("succeeded", ["ev-4", "ev-5"])
    assert [event.id for event in seen] == [f"ev-{n}" for n in (1, 2, 3, 4, 5)]
    assert service.asked_after[-1] == "ev-7"


def test_wait_reports_progress_and_returns_the_ended_job() -> None:
    event = b'id: 1\ndata: {"id": "ev-1", "created_at": 1, "message": "m", "data": {"progress": 0.5}}\n\n'
    seen: list[float | None] = []
    job = client(Streams(event + ENDED)).jobs.wait("ftjob-1", lambda event: seen.append(event.progress))
    assert job.fine_tuned_model == "intents:1"
    assert seen == [0.5]


def test_wait_gives_up_when_its_time_is_over() -> None:
    with pytest.raises(WaitTimeout, match="ftjob-1 is still running"):
        client(Streams(sse(1) + ENDED)).jobs.wait("ftjob-1", timeout=-1.0)


@pytest.mark.parametrize("stream", [Breaking(b""), b""])
def test_a_stream_that_never_gets_anywhere_is_given_up(stream: Any) -> None:
    service = Streams(stream)
    with pytest.raises(ConnectionFailed):
        list(client(service).jobs.stream("ftjob-1"))
    assert len(service.asked_after) == 1 + FAST.attempts


def test_a_long_job_may_lose_its_connection_any_number_of_times() -> None:
    service = Streams(*[Breaking(sse(n)) for n in range(20)], ENDED)
    assert len(list(client(service).jobs.stream("ftjob-1"))) == 20


def test_events_of_a_job_that_does_not_exist_are_not_found() -> None:
    answer = httpx.Response(404, json={"error": {"message": "No such fine-tuning job."}})
    with pytest.raises(NotFound, match="No such"):
        next(iter(client(Recorder(answer)).jobs.stream("ftjob-0")))


def test_an_answer_of_another_service_is_an_error_of_the_client() -> None:
    with pytest.raises(UnexpectedAnswer, match="GET /v1/models"):
        client(Recorder(httpx.Response(200, html="<html>"))).models.list()
    with pytest.raises(UnexpectedAnswer, match="event"):
        list(client(Streams(b"data: hello\n\n")).jobs.stream("ftjob-1"))


# --- the package --------------------------------------------------------------------------------


def test_every_error_of_the_tree_is_exported() -> None:
    tree = {kind.__name__ for kind in vars(package.errors).values() if isinstance(kind, type)}
    assert {name for name in tree if name != "Any"} <= set(package.__all__)


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = "import sys, app.client; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "onnxruntime", "fastapi", "sqlalchemy", "torch", "PIL"}
    assert not heavy & set(loaded.stdout.split())
