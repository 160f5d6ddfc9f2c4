"""Upload, fine-tune, serve, predict: every modality and task, by every kind of body."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from tests.support import TEXTS, Job, jsonl, png, signal

Fit = Callable[..., Job]


def predict(client: TestClient, **body: Any) -> Any:
    response = client.post("/v1/predictions", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["id"] == f"pred-{response.headers['x-request-id']}"
    return response.json()


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


def tone(frequency: float, seed: int) -> bytes:
    time = np.arange(8_000) / 8_000
    noise = np.random.default_rng(seed).normal(0, 0.02, time.size)
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.4 * np.sin(2 * np.pi * frequency * time) + noise, 8_000, format="WAV")
    return buffer.getvalue()


def test_text_classification(client: TestClient, fit: Fit) -> None:
    job = fit("texts.jsonl", jsonl(TEXTS), model="text/minilm-l6", suffix="loop-text")
    assert job["status"] == "succeeded", job
    assert job["fine_tuned_model"] == "loop-text"
    answer = predict(
        client, model="loop-text", input=["when do I get my money", "where is the parcel"], top_k=1
    )
    assert [row["label"] for row in answer["data"]] == ["refund", "delivery"]
    assert [len(row["scores"]) for row in answer["data"]] == [1, 1]
    assert answer["digest"] == job["result"]["digest"]
    assert answer["version"] == 1


def test_image_classification_from_a_zip_and_three_kinds_of_body(client: TestClient, fit: Fit) -> None:
    files = {
        f"{name}/{i}.png": png(level, i) for name, level in (("dark", 40), ("bright", 210)) for i in range(5)
    }
    job = fit("pictures.zip", archive(files), model="image/pixels", suffix="loop-image")
    assert job["status"] == "succeeded", job
    dark = png(50, 99)
    encoded = base64.b64encode(dark).decode()
    for value in (encoded, f"data:image/png;base64,{encoded}"):
        assert predict(client, model="loop-image", input=value)["data"][0]["label"] == "dark"
    raw = client.post("/v1/predictions?model=loop-image", content=dark, headers={"content-type": "image/png"})
    assert raw.json()["data"][0]["label"] == "dark"
    parts = [("file", ("a.png", dark, "image/png")), ("file", ("b.png", png(200, 98), "image/png"))]
    form = client.post("/v1/predictions", data={"model": "loop-image"}, files=parts)
    assert [row["label"] for row in form.json()["data"]] == ["dark", "bright"]


def test_signal_classification_from_npz_and_a_signal_on_its_own_grid(client: TestClient, fit: Fit) -> None:
    x = np.array([signal(kind, seed) for kind in (0, 1) for seed in range(8)], np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=np.array(["slow"] * 8 + ["fast"] * 8), grid=np.linspace(0, 1, 50))
    job = fit("waves.npz", buffer.getvalue(), suffix="loop-signal")
    assert job["status"] == "succeeded", job
    finer = {"grid": np.linspace(0, 1, 200).tolist(), "values": signal(1, 3, 200)}
    answer = predict(client, model="loop-signal", input=[signal(0, 30), finer])
    assert answer["data"][1]["label"] == "fast"


def test_one_list_of_numbers_is_one_signal(client: TestClient, fit: Fit) -> None:
    rows = [
        {"input": signal(kind, seed), "label": ("slow", "fast")[kind]} for kind in (0, 1) for seed in range(4)
    ]
    fit("waves.jsonl", jsonl(rows), suffix="loop-one-signal")
    assert len(predict(client, model="loop-one-signal", input=signal(0, 9))["data"]) == 1


def test_audio_classification_at_another_sample_rate(client: TestClient, fit: Fit) -> None:
    files = {
        f"{name}/{i}.wav": tone(f, i) for name, f in (("low", 220.0), ("high", 1_800.0)) for i in range(4)
    }
    job = fit("tones.zip", archive(files), suffix="loop-audio")
    assert job["status"] == "succeeded", job
    clip = base64.b64encode(tone(1_700.0, 50)).decode()
    assert predict(client, model="loop-audio", input=clip)["data"][0]["label"] == "high"


def test_regression_has_a_value_and_an_interval(client: TestClient, fit: Fit) -> None:
    base = np.sin(np.linspace(0, 3, 40))
    noise = np.random.default_rng(0)
    rows = [
        {"input": (base * y + noise.normal(0, 0.05, 40)).tolist(), "label": float(y)}
        for y in np.linspace(1, 9, 24)
    ]
    job = fit("levels.jsonl", jsonl(rows), suffix="loop-regression")
    assert job["status"] == "succeeded", job
    row = predict(client, model="loop-regression", input=[(base * 5).tolist()])["data"][0]
    assert row["value"] == pytest.approx(5, abs=0.5)
    low, high = row["interval"]
    assert low < row["value"] < high


def test_multilabel_gives_every_label_a_score(client: TestClient, fit: Fit) -> None:
    parts = {"colour": "it is bright red", "size": "it is very large", "price": "it costs a lot of money"}
    rows = [
        {"input": " and ".join([parts[a], parts[b]]) + "." * i, "label": sorted({a, b})}
        for i in range(1, 5)
        for a in parts
        for b in parts
        if a <= b
    ]
    job = fit("topics.jsonl", jsonl(rows), suffix="loop-multilabel")
    assert job["status"] == "succeeded", job
    row = predict(client, model="loop-multilabel", input="it costs a lot of money and it is very large")[
        "data"
    ][0]
    assert set(row["label"]) == {"price", "size"}
    assert len(row["scores"]) == 3


def test_unlabelled_rows_are_counted_and_left_out(client: TestClient, upload: Callable[..., Any]) -> None:
    rows = [*TEXTS, {"input": "what is this"}, {"input": "and this", "label": None}]
    file = upload("mixed.jsonl", jsonl(rows)).json()
    assert file["unlabelled"] == 2
    assert file["examples"] == len(TEXTS) + 2
    assert file["labels"] == {"refund": 9, "delivery": 9}


def test_the_same_data_and_seed_give_the_same_artefact(fit: Fit) -> None:
    digests = {
        fit("same.jsonl", jsonl(TEXTS), suffix=f"same-{i}", seed=7)["result"]["digest"] for i in range(2)
    }
    assert len(digests) == 1


def test_an_embedding_comes_with_the_prediction_when_asked(client: TestClient, fit: Fit) -> None:
    fit("texts.jsonl", jsonl(TEXTS), suffix="loop-embedding")
    body = {"model": "loop-embedding", "input": "money", "return_embedding": True}
    row = predict(client, **body)["data"][0]
    direct = client.post("/v1/embeddings", json={"model": "text/minilm-l6", "input": "money"}).json()
    assert row["embedding"] == pytest.approx(direct["data"][0]["embedding"], abs=1e-5)
