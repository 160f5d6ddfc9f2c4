"""Jobs with a target domain, over HTTP: adapted, reported as such, and refused where something is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support import Job, finished, jsonl

METHODS = [
    "coral",
    "subspace_alignment",
    "optimal_transport",
    "importance_weighting",
    "metric_transform",
    "self_training",
]
KINDS = ("slow", "fast")


def wave(kind: int, seed: int, lift: float = 0.0) -> list[float]:
    """A slow (0) or fast (1) noisy wave on a slope that rises by `lift` in all."""
    x = np.linspace(0, 1, 50)
    noise = np.random.default_rng([kind, seed]).normal(0, 0.5, len(x))
    return [float(value) for value in np.sin((4 + 10 * kind) * x) + lift * x + noise]


def source(count: int = 8) -> bytes:
    return jsonl(
        [{"input": wave(kind, seed), "label": KINDS[kind]} for kind in (0, 1) for seed in range(count)]
    )


def target(count: int = 10, labelled: int = 0) -> bytes:
    """Lifted waves of other seeds, the first of each kind labelled."""
    rows: list[dict[str, Any]] = []
    for kind in (0, 1):
        for seed in range(count):
            label = {"label": KINDS[kind]} if seed < labelled else {}
            rows.append({"input": wave(kind, 100 + seed, 4), **label})
    return jsonl(rows)


@pytest.fixture
def adapt(client: TestClient, upload: Callable[..., Any]) -> Callable[..., Any]:
    """Upload both domains and post a job of the method; the response."""

    def run(method: str, there: bytes | None, **hyperparameters: Any) -> Any:
        files = {"training_file": upload("source.jsonl", source()).json()["id"]}
        if there is not None:
            files["unlabelled_file"] = upload("target.jsonl", there).json()["id"]
        chosen = {"type": method, method: {"hyperparameters": hyperparameters}}
        body = {"model": "signal/raw@snv", "suffix": "adapted", "method": chosen, **files}
        return client.post("/v1/fine_tuning/jobs", json=body, headers={"prefer": "wait=60"})

    return run


def report_of(client: TestClient, job: Job) -> dict[str, Any]:
    assert job["status"] == "succeeded", job
    report: dict[str, Any] = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report").json()
    return report


@pytest.mark.parametrize("method", METHODS)
def test_every_method_adapts_and_says_how_far_apart_the_domains_lie(
    client: TestClient, adapt: Callable[..., Any], method: str
) -> None:
    job = finished(client, adapt(method, target()).json())
    report = report_of(client, job)
    assert (report["method"], report["setting"]) == (method, "transductive")
    told = report["adaptation"]
    assert (told["source_examples"], told["target_examples"], told["target_labelled"]) == (16, 20, 0)
    assert told["estimate_domain"] == "source"
    assert told["a_distance_before"] > 1
    weighs = method == "importance_weighting"  # here a handful of rows take all the weight: too few to tell
    assert (told["a_distance_after"] is None) == weighs
    assert (told["effective_sample_size"] is not None) == weighs
    assert ("effective_sample_size" in report["hyperparameters"]) == weighs


def test_the_page_shows_the_domains(client: TestClient, adapt: Callable[..., Any]) -> None:
    job = finished(client, adapt("importance_weighting", target()).json())
    page = client.get(f"/v1/fine_tuning/jobs/{job['id']}/report", headers={"accept": "text/html"}).text
    assert "Source and target" in page
    assert "the source domain: the target has too few labels" in page
    assert "equal ones" in page


def test_the_adapted_model_is_right_about_the_target(client: TestClient, adapt: Callable[..., Any]) -> None:
    job = finished(client, adapt("coral", target(), moments="mean").json())
    inputs = [wave(kind, 500 + seed, 4) for kind in (0, 1) for seed in range(5)]
    answer = client.post("/v1/predictions", json={"model": job["fine_tuned_model"], "input": inputs})
    assert answer.status_code == 200, answer.text
    found = [prediction["label"] for prediction in answer.json()["data"]]
    assert sum(label == KINDS[row // 5] for row, label in enumerate(found)) >= 8


@pytest.mark.parametrize("method", ["coral", "guarded_pooling"])
def test_labels_of_the_target_make_the_estimate_one_of_the_target(
    client: TestClient, adapt: Callable[..., Any], method: str
) -> None:
    report = report_of(client, finished(client, adapt(method, target(10, labelled=4)).json()))
    assert report["adaptation"]["estimate_domain"] == "target"
    assert report["adaptation"]["target_labelled"] == report["estimate"]["n"] == 8


@pytest.mark.parametrize(
    ("method", "there", "code"),
    [
        ("coral", None, "no_unlabelled_data"),
        ("optimal_transport", target(3, labelled=3), "no_unlabelled_data"),
        ("guarded_pooling", target(3), "no_target_labels"),
        (
            "coral",
            jsonl([{"input": wave(0, 1)}, {"input": wave(0, 2), "label": "wild"}]),
            "unknown_target_classes",
        ),
    ],
)
def test_what_is_missing_is_said_before_the_job_is_queued(
    adapt: Callable[..., Any], method: str, there: bytes | None, code: str
) -> None:
    answer = adapt(method, there)
    assert answer.status_code in (400, 422), answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, "unlabelled_file")


def test_a_job_without_a_target_says_nothing_of_one(client: TestClient, fit: Callable[..., Job]) -> None:
    report = report_of(client, fit("plain.jsonl", source()))
    assert report["adaptation"] is None
