"""The command line against a mock transport: JSON for scripts, tables for people, one line an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from typer.testing import CliRunner, Result

from app import client as client_package
from app.cli import app
from app.client import Client
from app.client.retry import Retry
from app.commands import choices, training
from models import base
from models.errors import NotFound
from models.shelf import SHIPPED

Route = tuple[str, str]
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 9,
    "created_at": 1_700_000_000,
    "filename": "intents.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "modality": "text",
    "task": "classification",
    "examples": 2,
    "labels": {"a": 1, "[b]": 1},
    "warnings": [],
}
JOB = {
    "id": "ftjob-1",
    "object": "fine_tuning.job",
    "status": "succeeded",
    "model": "auto",
    "fine_tuned_model": "intents",
    "created_at": 1_700_000_000,
    "finished_at": 1_700_000_002,
    "training_file": "file-1",
    "method": {"type": "auto"},
    "seed": 0,
}
MODEL = {
    "id": "intents",
    "object": "model",
    "created": 1_700_000_000,
    "modality": "text",
    "task": "classification",
    "labels": ["a", "b"],
    "backbone": "text/minilm-l6",
    "version": 2,
    "aliases": {"live": 2},
    "metrics": {"accuracy": 0.8125, "estimate": {"n": 3}},
}
BACKBONE = {
    "id": "text/minilm-l6",
    "modality": "text",
    "digest": "d",
    "parameters": 22_000_000,
    "embedding_dim": 384,
    "taps": [{"name": "sentence", "dim": 384, "depth": 1.0}],
    "licence": "Apache-2.0",
    "source": "somewhere",
}
DATASET = {"id": "ds-1", "name": "d", "modality": "image", "task": "classification", "examples": 3}
JOBS = "/v1/fine_tuning/jobs"


def page(*items: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": False}


def sse(*events: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events)


def stream(status: str = "succeeded") -> httpx.Response:
    step = {"id": "ev-1", "created_at": 1, "message": "Trying [ridge].", "data": {"progress": 0.4}}
    error = {"code": "training_failed", "message": "All labels are alike."} if status == "failed" else None
    job = {**JOB, "status": status, "error": error}
    return httpx.Response(200, content=sse(("fine_tuning.job.event", step), ("fine_tuning.job", job)))


class Service:
    """Answers from a table of routes, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.addresses: list[tuple[str | None, str | None]] = []
        self.routes: dict[Route, Any] = {
            ("GET", "/v1/files"): page(FILE),
            ("POST", "/v1/files"): FILE,
            ("GET", "/v1/files/file-1"): FILE,
            ("GET", "/v1/files/file-1/content"): httpx.Response(200, content=b"content"),
            ("DELETE", "/v1/files/file-1"): {"id": "file-1", "deleted": True},
            ("GET", JOBS): page(JOB),
            ("POST", JOBS): {**JOB, "status": "queued"},
            ("GET", f"{JOBS}/ftjob-1"): JOB,
            ("POST", f"{JOBS}/ftjob-1/cancel"): {**JOB, "status": "cancelled"},
            ("GET", f"{JOBS}/ftjob-1/events"): stream(),
            ("GET", f"{JOBS}/ftjob-1/report"): {"estimate": {"value": 0.8}},
            ("GET", "/v1/models"): page(MODEL),
            ("GET", "/v1/models/intents"): MODEL,
            ("GET", "/v1/models/intents/versions"): page(MODEL),
            ("PUT", "/v1/models/intents/aliases/live"): {"model": "intents", "alias": "live", "version": 1},
            ("DELETE", "/v1/models/intents/aliases/old"): {"id": "intents@old", "deleted": True},
            ("DELETE", "/v1/models/intents"): {"id": "intents", "deleted": True},
            ("GET", "/v1/backbones"): page(BACKBONE),
            ("GET", "/v1/backbones/text/minilm-l6"): BACKBONE,
            ("GET", "/v1/datasets"): page(DATASET),
            ("POST", "/v1/datasets"): DATASET,
            ("GET", "/v1/datasets/ds-1"): DATASET,
            ("DELETE", "/v1/datasets/ds-1"): {"id": "ds-1", "deleted": True},
            ("GET", "/v1/datasets/ds-1/examples"): page({"id": "ex-1", "label": "cat", "created_at": 1}),
            ("POST", "/v1/datasets/ds-1/examples"): {"data": [{"id": "ex-1"}], "duplicates": 1},
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.routes.get((request.method, request.url.path))
        if answer is None and request.url.path == "/v1/predictions":
            return self.predictions(json.loads(request.content))
        if answer is None:
            error = {"message": "No such thing.", "code": "not_found", "request_id": "r1"}
            return httpx.Response(404, json={"error": error})
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content)
        return httpx.Response(200, json=answer)

    @staticmethod
    def predictions(body: dict[str, Any]) -> httpx.Response:
        scores = [{"label": "a", "score": 0.75}, {"label": "b", "score": 0.25}]
        data = [{"index": i, **scores[0], "scores": scores} for i, _ in enumerate(body["input"])]
        return httpx.Response(
            200, json={"id": "p", "model": body["model"], "version": 2, "digest": "d", "data": data}
        )

    def open(self, url: str | None, key: str | None) -> Client:
        self.addresses.append((url, key))
        retry = Retry(attempts=1, backoff=0.0)
        return Client(url or "http://durian.test", key, transport=httpx.MockTransport(self), retry=retry)

    def bodies(self, path: str) -> list[Any]:
        return [json.loads(request.content) for request in self.requests if request.url.path == path]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    fake = Service()
    monkeypatch.setattr(client_package, "Client", fake.open)
    for name in ("DURIAN_URL", "DURIAN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return fake


def durian(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


PLAIN = [
    (("backbones", "list"), page(BACKBONE), "text/minilm-l6"),
    (("backbones", "show", "text/minilm-l6"), BACKBONE, "sentence (384 at 1)"),
    (("files", "list"), page(FILE), "intents.jsonl"),
    (("files", "show", "file-1"), FILE, "a 1, [b] 1"),
    (("files", "delete", "file-1"), {"id": "file-1", "deleted": True}, "deleted file-1"),
    (("datasets", "list"), page(DATASET), "ds-1"),
    (("datasets", "create", "d", "--modality", "image"), DATASET, "ds-1"),
    (("datasets", "show", "ds-1"), DATASET, "image"),
    (("datasets", "examples", "ds-1"), page({"id": "ex-1", "label": "cat", "created_at": 1}), "cat"),
    (("datasets", "delete", "ds-1"), {"id": "ds-1", "deleted": True}, "deleted ds-1"),
    (("jobs", "list"), page(JOB), "succeeded"),
    (("jobs", "show", "ftjob-1"), JOB, "succeeded"),
    (("jobs", "cancel", "ftjob-1"), {**JOB, "status": "cancelled"}, "ftjob-1 cancelled"),
    (("jobs", "create", "auto", "file-1"), {**JOB, "status": "queued"}, "durian jobs watch ftjob-1"),
    (("models", "list"), page(MODEL), "live 2"),
    (("models", "show", "intents"), MODEL, "accuracy 0.8125"),
    (("models", "versions", "intents"), page(MODEL), "text/minilm-l6"),
    (
        ("models", "alias", "intents", "live", "1"),
        {"model": "intents", "alias": "live", "version": 1},
        "intents@live is version 1",
    ),
    (
        ("models", "alias", "intents", "old", "--delete"),
        {"id": "intents@old", "deleted": True},
        "intents@old is gone",
    ),
    (("models", "delete", "intents"), {"id": "intents", "deleted": True}, "deleted intents"),
]


@pytest.mark.parametrize(("arguments", "answer", "shown"), PLAIN)
@pytest.mark.usefixtures("service")
def test_a_command_prints_the_answer_as_json_and_for_people(
    arguments: tuple[str, ...], answer: Any, shown: str
) -> None:
    for_scripts = durian(*arguments, "--json")
    assert for_scripts.exit_code == 0
    assert json.loads(for_scripts.stdout) == answer
    for_people = durian(*arguments)
    assert for_people.exit_code == 0
    assert shown in for_people.stdout
    assert "\x1b" not in for_people.stdout


def test_the_address_and_key_are_options_or_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    durian("models", "list", "--url", "http://there:1", "--key", "k")
    monkeypatch.setenv("DURIAN_URL", "http://elsewhere:2")
    monkeypatch.setenv("DURIAN_API_KEY", "e")
    durian("models", "list")
    assert service.addresses == [("http://there:1", "k"), ("http://elsewhere:2", "e")]


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("service")
def test_an_error_is_one_line_on_stderr_and_exit_code_1() -> None:
    result = durian("models", "show", "nothing", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "durian: No such thing. (not_found, r1)\n"


def test_a_missing_key_is_told_how_to_give_one(service: Service) -> None:
    error = {"error": {"message": "Who are you?"}}
    service.routes["GET", "/v1/models"] = httpx.Response(401, json=error)
    assert durian("models", "list").stderr == "durian: Who are you? Give a key by --key or DURIAN_API_KEY.\n"


def test_a_service_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    result = durian("models", "list", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "No Durian service answers at http://127.0.0.1:9" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "show"),
        ("files", "list", "--limit", "0"),
        ("files", "upload", "there-is-no-such-file"),
        ("datasets", "create", "d", "--modality", "smell"),
        ("datasets", "add", "ds-1", "a.png"),
        ("jobs", "create", "auto", "file-1", "--set", "C=1"),
        ("jobs", "create", "auto", "file-1", "--metadata", "no-equals-sign"),
        ("models", "alias", "intents", "live"),
        ("models", "alias", "intents", "live", "1", "--delete"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_is_exit_code_2(service: Service, arguments: tuple[str, ...]) -> None:
    assert durian(*arguments).exit_code == 2
    assert service.requests == []


# --- files and datasets -------------------------------------------------------------------------


def test_a_file_is_uploaded_and_fetched(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "intents.jsonl"
    path.write_text("{}")
    assert "file-1" in durian("files", "upload", str(path), "--task", "classification").stdout
    assert b'filename="intents.jsonl"' in service.requests[-1].content
    target = tmp_path / "copy"
    assert durian("files", "download", "file-1", "--to", str(target)).exit_code == 0
    assert target.read_bytes() == b"content"


def test_a_download_takes_only_the_last_part_of_the_name_and_overwrites_nothing(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    service.routes["GET", "/v1/files/file-1"] = {**FILE, "filename": "../outside.jsonl"}
    assert durian("files", "download", "file-1").exit_code == 0
    assert (folder / "outside.jsonl").read_bytes() == b"content"
    again = durian("files", "download", "file-1")
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_examples_are_added_from_a_jsonl_or_with_a_label(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"input": "hi", "label": "greet"}\n\n{"input": "bye", "label": null}\n')
    assert durian("datasets", "add", "ds-1", str(path)).stdout == "added 1, 1 were there already\n"
    durian("datasets", "add", "ds-1", "hello there", "x" * 5000, "--label", "greet")
    first, second = service.bodies("/v1/datasets/ds-1/examples")
    assert first == [{"input": "hi", "label": "greet"}, {"input": "bye", "label": None}]
    assert second[0] == {"input": "hello there", "label": "greet"}
    media = tmp_path / "cat.png"
    media.write_bytes(b"\x89PNG")
    durian("datasets", "add", "ds-1", str(media), "--label", "cat")
    assert b'filename="cat.png"' in service.requests[-1].content


@pytest.mark.parametrize("line", ["not json", "[1]", '{"label": "a"}'])
def test_a_bad_row_is_named(service: Service, tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"input": "hi"}}\n{line}\n')
    result = durian("datasets", "add", "ds-1", str(path))
    assert result.exit_code == 1
    assert "line 2" in result.stderr
    assert service.requests == []


# --- jobs ---------------------------------------------------------------------------------------


def test_a_job_is_created_with_what_was_asked_for(service: Service) -> None:
    options = ("--method", "ridge", "--set", "l2=0.5", "--set", "kind=loo", "--seed", "3", "--suffix", "s")
    durian("jobs", "create", "text/minilm-l6", "file-1", *options, "--metadata", "team=a=b")
    assert service.bodies(JOBS) == [
        {
            "model": "text/minilm-l6",
            "training_file": "file-1",
            "suffix": "s",
            "method": {"type": "ridge", "ridge": {"hyperparameters": {"l2": 0.5, "kind": "loo"}}},
            "seed": 3,
            "metadata": {"team": "a=b"},
        }
    ]


def test_a_job_on_a_local_file_uploads_it_first(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "intents.jsonl"
    path.write_text("{}")
    durian("jobs", "create", "auto", str(path))
    assert [request.url.path for request in service.requests] == ["/v1/files", JOBS]
    assert service.bodies(JOBS)[0]["training_file"] == "file-1"


@pytest.mark.parametrize("arguments", [("watch", "ftjob-1"), ("create", "auto", "file-1", "--watch")])
@pytest.mark.usefixtures("service")
def test_watching_shows_events_and_the_outcome(arguments: tuple[str, ...]) -> None:
    result = durian("jobs", *arguments)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "   40%  Trying [ridge].",
        "ftjob-1 succeeded: the model intents is live",
    ]


@pytest.mark.usefixtures("service")
def test_watching_for_scripts_gives_lines_of_json() -> None:
    event, job = map(json.loads, durian("jobs", "watch", "ftjob-1", "--json").stdout.splitlines())
    assert event["message"] == "Trying [ridge]."
    assert job["status"] == "succeeded"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_does_not_succeed_is_exit_code_1(service: Service, status: str) -> None:
    service.routes["GET", f"{JOBS}/ftjob-1/events"] = stream(status)
    result = durian("jobs", "watch", "ftjob-1")
    assert result.exit_code == 1
    assert f"ftjob-1 {status}" in result.stdout
    assert ("All labels are alike." in result.stdout) == (status == "failed")


def test_a_report_is_json_or_a_page(service: Service, tmp_path: Path) -> None:
    assert json.loads(durian("jobs", "report", "ftjob-1").stdout) == {"estimate": {"value": 0.8}}
    target = tmp_path / "report.html"
    assert durian("jobs", "report", "ftjob-1", "--html", str(target)).exit_code == 0
    assert service.requests[-1].headers["accept"] == "text/html"
    assert target.exists()


# --- predictions --------------------------------------------------------------------------------


def test_predictions_are_a_table_or_json(service: Service) -> None:
    result = durian("predict", "intents", "hello  [there]", "--top-k", "2")
    assert result.stdout.splitlines()[1].split("  ")[0] == "hello [there]"
    assert "0.75" in result.stdout
    assert "b 0.25" in result.stdout
    assert service.bodies("/v1/predictions") == [
        {"model": "intents:2", "top_k": 2, "input": ["hello  [there]"]}
    ]
    answer = json.loads(durian("predict", "intents", "x", "--json").stdout)
    assert answer["data"][0]["label"] == "a"


def test_lines_of_stdin_go_in_batches_to_one_version(service: Service) -> None:
    lines = "".join(f"line {i}\n\n" for i in range(300))
    answer = json.loads(durian("predict", "intents", "first", "-", "--json", stdin=lines).stdout)
    assert [row["index"] for row in answer["data"]] == list(range(301))
    sent = service.bodies("/v1/predictions")
    assert [len(body["input"]) for body in sent] == [256, 45]
    assert {body["model"] for body in sent} == {"intents:2"}


def test_no_line_at_all_is_an_error(service: Service) -> None:
    result = durian("predict", "intents", "-", "--json", stdin="")
    assert result.exit_code == 1
    assert "nothing to predict" in result.stderr


def test_a_text_file_is_read_after_an_at_sign(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("from a file")
    durian("predict", "intents", f"@{path}", str(path))
    assert service.bodies("/v1/predictions")[0]["input"] == ["from a file", str(path)]
    path.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in durian("predict", "intents", f"@{path}").stderr


@pytest.mark.parametrize("written", ["1.5, 2;3", "[1.5, 2, 3]", '{"values": [1.5, 2, 3]}'])
def test_a_signal_is_written_out_or_in_a_file(service: Service, tmp_path: Path, written: str) -> None:
    service.routes["GET", "/v1/models/intents"] = {**MODEL, "modality": "signal"}
    path = tmp_path / "signal.txt"
    path.write_text(written.replace(", ", ",\n"))
    durian("predict", "intents", written, str(path), f"@{path}")
    sent = service.bodies("/v1/predictions")[0]["input"]
    assert sent == [{"values": [1.5, 2, 3]} if "values" in written else [1.5, 2.0, 3.0]] * 3


@pytest.mark.parametrize("written", ["1,nan", "[1, NaN]", "abc", "no/such/file"])
def test_a_signal_that_is_none_is_refused(service: Service, written: str) -> None:
    service.routes["GET", "/v1/models/intents"] = {**MODEL, "modality": "signal"}
    result = durian("predict", "intents", written)
    assert result.exit_code == 1
    assert written in result.stderr


def test_media_must_be_files(service: Service, tmp_path: Path) -> None:
    service.routes["GET", "/v1/models/intents"] = {**MODEL, "modality": "image"}
    result = durian("predict", "intents", str(tmp_path / "none.png"))
    assert result.exit_code == 1
    assert "none.png" in result.stderr


# --- this machine -------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DURIAN_DATA", str(tmp_path))
    monkeypatch.setenv("DURIAN_EMBEDDED_BACKBONES", str(tmp_path / "embedded"))
    return tmp_path


@pytest.mark.usefixtures("data")
def test_keys_are_made_listed_and_revoked() -> None:
    key = durian("keys", "create", "--tenant", "acme", "--role", "reader").stdout.strip()
    assert key.startswith("dk_")
    (listed,) = json.loads(durian("keys", "list", "--json").stdout)["data"]
    assert (listed["tenant"], listed["role"], listed["revoked_at"]) == ("acme", "reader", None)
    assert key.split("_")[2] not in durian("keys", "list").stdout
    assert durian("keys", "revoke", listed["id"]).exit_code == 0
    (listed,) = json.loads(durian("keys", "list", "--json").stdout)["data"]
    assert listed["revoked_at"] is not None
    lines = json.loads(durian("audit", "--json").stdout)["data"]
    assert [(line["action"], line["object_id"]) for line in lines] == [
        ("created", listed["id"]),
        ("changed", listed["id"]),
    ]
    assert lines[0]["at"] <= lines[1]["at"]
    missing = durian("keys", "revoke", "nothing")
    assert (missing.exit_code, missing.stderr) == (1, "durian: No such key.\n")


@pytest.mark.usefixtures("data")
def test_a_key_has_the_life_that_it_is_given() -> None:
    for time, hours in {"12h": 12, "30d": 720, "2w": 336}.items():
        assert durian("keys", "create", "--tenant", time, "--expires", time).exit_code == 0
        key = json.loads(durian("keys", "list", "--json").stdout)["data"][-1]
        assert key["expires_at"] - key["created_at"] == pytest.approx(hours * 3600, abs=2)
    assert "30d" in durian("keys", "create", "--tenant", "a", "--expires", "soon").stderr


Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], list[list[str]]]:
    """Stands in for the training side: gives the exit code and output, keeps the commands."""
    commands: list[list[str]] = []

    def answer(code: int, stdout: str) -> list[list[str]]:
        def run(command: list[str], **_: Any) -> Completed:
            commands.append(command)
            return Completed(command, code, stdout)

        monkeypatch.setattr(training.subprocess, "run", run)
        return commands

    return answer


def test_setup_runs_the_training_side_on_the_embedded_folder(data: Path, process: Any) -> None:
    commands = process(0, '{"id": "text/a"}\n{"id": "image/b"}\n')
    assert durian("backbones", "setup").stdout == "ready: text/a, image/b\n"
    assert commands == [[sys.executable, "-m", "training.backbones", "setup", str(data / "embedded")]]


def test_an_import_passes_its_options_on(data: Path, process: Any) -> None:
    commands = process(0, '{"id": "onnx/net"}\n')
    for name in ("net.onnx", "spec.json"):
        (data / name).write_text("{}")
    options = ("--name", "net", "--modality", "image", "--preprocess", str(data / "spec.json"))
    result = durian("backbones", "import", str(data / "net.onnx"), *options, "--output", "features", "--json")
    assert json.loads(result.stdout) == {"id": "onnx/net"}
    assert commands[0][3:] == [
        *("import", str(data / "net.onnx"), "--name", "net", "--modality", "image", "--output", "features"),
        *("--preprocess", str(data / "spec.json"), "--root", str(data / "backbones")),
    ]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("code", "stdout", "message"),
    [
        (1, '{"error": {"code": "graph", "message": "No output.", "param": "output"}}\n', "No output."),
        (-9, "", "exit code -9"),
    ],
)
def test_what_goes_wrong_on_the_training_side_is_an_error(
    process: Any, code: int, stdout: str, message: str
) -> None:
    process(code, stdout)
    result = durian("backbones", "setup")
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_backbone_is_shown_with_its_default_tap_and_a_variant_with_its_effect(service: Service) -> None:
    assert "default tap" not in durian("backbones", "show", "text/minilm-l6").stdout
    effect = {"task": "intents", "kind": "classification", "examples": 9, "method": "logistic"}
    effect |= {"metric": "accuracy", "original": 0.91, "variant": 0.9, "hits": -0.01, "hits_error": 0.01}
    effect |= {"loss": 0.02, "loss_error": 0.01, "agreement": 0.99, "cosine_mean": 1.0, "cosine_least": 0.9}
    effect |= {"bytes": 10, "bytes_original": 40, "speed": 1.5}
    variant = {"variant_of": {"id": "text/a", "digest": "d"}, "precision": "int8", "effect": effect}
    service.routes["GET", "/v1/backbones/text/minilm-l6"] = BACKBONE | variant | {"default_tap": "sentence"}
    shown = durian("backbones", "show", "text/minilm-l6").stdout
    for words in ("sentence", "text/a", "int8", "0.9100 -> 0.9000 on intents", "4.0 x smaller"):
        assert words in shown


SOUND = {"id": "a/b", "ok": True, "taps": 2, "batch_difference": 2e-7, "seconds": 0.25}
BROKEN = {"id": "c/[d]", "ok": False, "seconds": 0.1, "code": "corrupt_artefact", "message": "It is not."}


def test_verify_tells_a_line_a_backbone_and_fails_with_the_worst(data: Path, process: Any) -> None:
    commands = process(0, f"{json.dumps(SOUND)}\n")
    result = durian("backbones", "verify")
    assert (result.exit_code, result.stdout) == (
        0,
        "ok      a/b: 2 taps, alone and batched differ by 2e-07, 0.2 s\n",
    )
    roots = ["--roots", str(data / "embedded"), str(SHIPPED), str(data / "backbones")]
    assert commands[0][3:] == ["verify", *roots]
    process(0, f"{json.dumps(SOUND)}\n{json.dumps(BROKEN)}\n")
    result = durian("backbones", "verify", "a/b", "c/[d]")
    assert result.exit_code == 1
    assert result.stdout.endswith("\nFAILED  c/[d]: It is not. (corrupt_artefact)\n")
    assert commands[-1][3:6] == ["verify", "a/b", "c/[d]"]
    result = durian("backbones", "verify", "--json")
    assert (result.exit_code, json.loads(result.stdout)["data"]) == (1, [SOUND, BROKEN])


def test_export_says_what_it_wrote(data: Path, process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = process(0, '{"id": "a/b.low", "files": {"net.onnx": "x", "net.tokenizer.json": "y"}}\n')
    monkeypatch.chdir(data)
    result = durian("backbones", "export", "a/b", "net.onnx", "--tap", "low")
    assert result.stdout == "wrote a/b.low to net.onnx: net.onnx, net.tokenizer.json and its card\n"
    assert commands[0][3:8] == ["export", "a/b", str(data / "net.onnx"), "--tap", "low"]


def test_serve_starts_the_service_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from app import start

    started: list[dict[str, Any]] = []
    monkeypatch.setattr(start, "serve", lambda **options: started.append(options))
    assert durian("serve", "--port", "9", "--no-worker", "--workers", "2").exit_code == 0
    assert durian("serve").exit_code == 0
    assert started == [
        {"host": "127.0.0.1", "port": 9, "worker": False, "workers": 2},
        {"host": "127.0.0.1", "port": 8000, "worker": True, "workers": 0},
    ]


def test_what_stops_the_service_from_starting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from app import start

    def refuse(**_: Any) -> None:
        raise NotFound("There is no backbone.")

    monkeypatch.setattr(start, "serve", refuse)
    result = durian("serve")
    assert (result.exit_code, result.stderr) == (1, "durian: There is no backbone.\n")


# --- the package --------------------------------------------------------------------------------


CANDIDATE = {"backbone": "text/a", "tap": "top", "logme": 0.25, "h_score": None}
RECOMMENDATION = {
    "object": "recommendation",
    "setting": {"name": "few-shot", "why": "A typical class has 5 labelled examples."},
    "candidates": [
        CANDIDATE | {"loo": {"metric": "accuracy", "value": 0.9, "n": 10}},
        CANDIDATE | {"tap": "low", "loo": None},
    ],
    "advice": ["Label [more]."],
}


def test_recommend_shows_the_setting_the_order_and_the_advice(service: Service, tmp_path: Path) -> None:
    service.routes[("POST", "/v1/recommendations")] = RECOMMENDATION
    (tmp_path / "new.csv").write_text("text,label")
    shown = durian("recommend", str(tmp_path / "new.csv"), "--unlabelled", "file-2", "--most", "1").stdout
    assert service.bodies("/v1/recommendations") == [{"training_file": "file-1", "unlabelled_file": "file-2"}]
    assert shown.splitlines()[0] == "few-shot: A typical class has 5 labelled examples."
    assert "accuracy 0.9" in shown
    assert "low" not in shown
    assert shown.splitlines()[-1] == "- Label [more]."
    assert json.loads(durian("recommend", "file-1", "--json").stdout) == RECOMMENDATION


def test_choices_are_those_of_the_contract() -> None:
    assert get_args(choices.Modality) == get_args(base.ModalityName)
    assert get_args(choices.Task) == get_args(base.TaskName)


def test_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys, app.cli; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"fastapi", "sqlalchemy", "onnxruntime", "numpy", "httpx", "pydantic", "torch", "rich"}
    assert not heavy & set(loaded.stdout.split())


def test_help_works_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "app", "--help"], capture_output=True, text=True, check=True)
    commands = [
        "serve",
        "worker",
        "demo",
        "predict",
        "recommend",
        "backbones",
        "files",
        "datasets",
        "jobs",
        "models",
        "keys",
    ]
    assert all(command in done.stdout for command in commands)
