"""The official openai package, pointed at the service."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support import TEXTS, jsonl


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def file(client: OpenAI) -> Any:
    content = io.BytesIO(jsonl(TEXTS))
    return client.files.create(file=("intents.jsonl", content), purpose="fine-tune")


@pytest.fixture(scope="module")
def job(client: OpenAI, file: Any) -> Any:
    job = client.fine_tuning.jobs.create(
        model="text/minilm-l6",
        training_file=file.id,
        suffix="openai",
        seed=1,
        metadata={"team": "support"},
        method={"type": "supervised", "supervised": {"hyperparameters": {}}},
    )
    deadline = time.monotonic() + 60
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    return job


def test_files(client: OpenAI, file: Any) -> None:
    assert client.files.retrieve(file.id).filename == "intents.jsonl"
    assert file.id in {f.id for f in client.files.list()}
    assert client.files.content(file.id).read() == jsonl(TEXTS)
    extra = client.files.create(file=("more.jsonl", io.BytesIO(jsonl(TEXTS))), purpose="fine-tune")
    assert client.files.delete(extra.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(extra.id)


def test_files_are_paged_to_the_last_one(client: OpenAI) -> None:
    made = {
        client.files.create(file=(f"{i}.jsonl", io.BytesIO(jsonl(TEXTS))), purpose="fine-tune").id
        for i in range(5)
    }
    assert made <= {f.id for f in client.files.list(limit=2)}


def test_jobs(client: OpenAI, job: Any) -> None:
    assert job.object == "fine_tuning.job"
    assert job.metadata == {"team": "support"}
    assert job.id in {j.id for j in client.fine_tuning.jobs.list(metadata={"team": "support"})}
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert len(events) >= 5
    assert len({e.id for e in events}) == len(events)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert checkpoints[0].fine_tuned_model_checkpoint == "openai:1"


def test_a_job_is_cancelled_or_had_ended(client: OpenAI, file: Any) -> None:
    job = client.fine_tuning.jobs.create(model="text/minilm-l6", training_file=file.id)
    ended = client.fine_tuning.jobs.cancel(job.id)
    assert ended.status in ("cancelled", "succeeded")
    assert client.fine_tuning.jobs.retrieve(job.id).status == ended.status


def test_models(client: OpenAI, job: Any) -> None:
    model = client.models.retrieve(job.fine_tuned_model)
    assert model.id in {m.id for m in client.models.list()}


def test_embeddings_in_both_encodings_agree(client: OpenAI) -> None:
    default = client.embeddings.create(model="text/minilm-l6", input=["a cat", "a dog"])
    floats = client.embeddings.create(model="text/minilm-l6", input="a cat", encoding_format="float")
    assert [len(e.embedding) for e in default.data] == [384, 384]
    assert default.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-5)


def test_errors_are_of_the_clients_own_classes(client: OpenAI, file: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.create(model="no-such", training_file=file.id)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.files.create(file=("empty.jsonl", b" "), purpose="fine-tune")
    assert refused.value.code == "empty_file"
    assert refused.value.request_id


def test_a_deleted_model_is_gone(client: OpenAI, file: Any) -> None:
    job = client.fine_tuning.jobs.create(
        model="text/minilm-l6",
        training_file=file.id,
        suffix="openai-doomed",
        extra_headers={"Prefer": "wait=60"},
    )
    assert job.fine_tuned_model is not None
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(job.fine_tuned_model)
