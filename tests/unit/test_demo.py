"""The demo's parts: what it uploads and keeps back, how it draws inputs, which service it starts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from app.cli import app
from app.client.results import Job, JobEvent, Prediction, Predictions
from app.demo import loop, pictures, sets
from app.demo import service as demo_service

LABELS = ["a"] * 8 + ["b"] * 7


def jsonl() -> bytes:
    rows = [{"input": f"text {i}", "label": label} for i, label in enumerate(LABELS)]
    return "\n".join(map(json.dumps, rows)).encode()


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2), value).save(buffer, "PNG")
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i, label in enumerate(LABELS):
            file.writestr(f"{label}/{i}.png", png(i))
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    x = np.arange(len(LABELS) * 4, dtype=np.float32).reshape(-1, 4)
    np.savez(buffer, x=x, y=np.array(LABELS), grid=np.linspace(0.0, 1.0, 4))
    return buffer.getvalue()


def uploaded(example_set: sets.ExampleSet) -> list[Any]:
    """The inputs in an upload."""
    if example_set.modality == "text":
        return [json.loads(line)["input"] for line in example_set.upload.splitlines()]
    if example_set.modality == "image":
        with zipfile.ZipFile(io.BytesIO(example_set.upload)) as file:
            return [file.read(name) for name in file.namelist()]
    with np.load(io.BytesIO(example_set.upload)) as npz:
        return [{"grid": npz["grid"].tolist(), "values": row} for row in npz["x"].tolist()]


@pytest.mark.parametrize(
    ("make", "content"), [(sets.texts, jsonl()), (sets.digits, archive()), (sets.spectra, arrays())]
)
def test_a_few_of_each_class_are_uploaded_and_the_others_kept_back(make: Any, content: bytes) -> None:
    example_set = make(content)
    inputs, unseen = uploaded(example_set), [value for value, _ in example_set.unseen]
    assert example_set.classes == 2
    assert len(inputs) == 2 * sets.SHOTS
    assert len(unseen) == len(LABELS) - len(inputs)
    assert not [value for value in unseen if value in inputs]
    assert sorted(label for _, label in example_set.unseen) == ["a"] * 3 + ["b"] * 2


def test_the_draw_is_the_same_each_time_and_even_over_the_classes() -> None:
    rows = sets.draw(LABELS)
    assert rows == sets.draw(LABELS)
    assert sorted(LABELS[i] for i in rows) == ["a"] * sets.SHOTS + ["b"] * sets.SHOTS


def test_without_example_sets_the_demo_says_so(tmp_path: Path) -> None:
    with pytest.raises(sets.NoExamples, match="checkout"):
        sets.load(tmp_path)


def test_a_scan_is_drawn_by_its_ink() -> None:
    image = Image.new("L", (2, 2), 0)
    image.putpixel((1, 0), 255)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert pictures.picture("image", buffer.getvalue()) == "  @@\n"


def test_a_signal_is_drawn_as_bars() -> None:
    assert pictures.picture("signal", {"values": [0.0, 1.0, 2.0, 3.0]}) == "▁▃▆█"
    assert pictures.sparkline([2.0] * 500) == "▁" * 60


def test_the_callers_own_settings_do_not_reach_the_demos_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}
    monkeypatch.setenv("DURIAN_DATABASE", "postgresql://production")
    monkeypatch.setenv("DURIAN_DATA", "/srv/durian")
    monkeypatch.setenv("DURIAN_EMBEDDED_BACKBONES", "/srv/backbones")
    monkeypatch.setattr(demo_service.subprocess, "Popen", lambda *_, **options: started.update(options))
    demo_service._start(tmp_path, {}, ())
    assert Path(started["env"]["DURIAN_CONFIG"]).read_text() == ""  # nor does a durian.toml beside them
    ours = {name: value for name, value in started["env"].items() if name.startswith("DURIAN_")}
    assert ours == {
        "DURIAN_CONFIG": str(tmp_path / "durian.toml"),
        "DURIAN_DATA": str(tmp_path / "data"),
        "DURIAN_EMBEDDED_BACKBONES": "/srv/backbones",
    }


def test_a_service_that_does_not_start_is_an_error_with_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_service.sys, "executable", "/bin/false")
    with (
        pytest.raises(demo_service.ServiceFailed, match="ended before"),
        demo_service.temporary_service(),
    ):
        pytest.fail("there is no service")
    assert capsys.readouterr().err == ""


class FakeClient:
    """A service whose job gives the status, and that predicts the first label for everything."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.files = self.jobs = self

    def create(self, *_: Any, **__: Any) -> Any:
        return Job(id="ftjob-1", status="queued", model="auto", created_at=0)

    def wait(self, job_id: str, on_event: Any) -> Job:
        on_event(JobEvent(id="ev-1", created_at=0, message="Half done.", data={"progress": 0.5}))
        result = {"backbone": "text/b", "method": "ridge"}
        error = {"message": "It broke."} if self.status == "failed" else None
        return Job.model_validate(
            {"id": job_id, "status": self.status, "model": "auto", "created_at": 0, "error": error}
            | {"fine_tuned_model": "demo", "result": result}
        )

    def report(self, job_id: str) -> dict[str, Any]:
        return {"estimate": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 10}}

    def predict(self, model: str, inputs: list[Any]) -> Predictions:
        data = tuple(Prediction(index=i, label="a", score=0.9) for i, _ in enumerate(inputs))
        return Predictions(id="p", model=model, version=1, digest="d", data=data)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient("succeeded")

    @contextmanager
    def service() -> Iterator[FakeClient]:
        yield client

    monkeypatch.setattr(loop, "temporary_service", service)
    monkeypatch.setattr(loop, "load", lambda _: [sets.texts(jsonl())])
    return client


@pytest.mark.usefixtures("fake")
def test_the_demo_tells_and_sums_up_what_came_out() -> None:
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0
    assert "Uploading 5 examples of each of 2 classes; 5 others are kept back." in result.stdout
    assert "50%  Half done." in result.stdout
    assert "→ a, 0.90" in result.stdout
    table = [line for line in result.stdout.splitlines() if line.startswith("text      text/b")]
    assert len(table) == 1
    assert "80% (70–90)" in table[0]
    assert "60.0% (5)" in table[0]


@pytest.mark.usefixtures("fake")
def test_for_scripts_the_demo_prints_json_alone() -> None:
    (row,) = json.loads(CliRunner().invoke(app, ["demo", "--json"]).stdout)
    assert (row["accuracy"], row["unseen"], row["backbone"]) == (0.6, 5, "text/b")


def test_a_job_that_fails_fails_the_demo(fake: FakeClient) -> None:
    fake.status = "failed"
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert result.stderr == "durian: The job on intents.jsonl failed: It broke.\n"
