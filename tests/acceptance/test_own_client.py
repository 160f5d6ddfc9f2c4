"""Our own client against the real service: the loop of the README, and tritonclient on its result."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as triton

from app.client import ApiError, AsyncClient, Client
from tests.support import TEXTS, jsonl, png


@pytest.fixture(scope="module")
def model(durian: Client) -> str:
    file = durian.files.create(jsonl(TEXTS), filename="texts.jsonl")
    job = durian.jobs.create("text/minilm-l6", file.id, suffix="own")
    seen: list[str] = []
    job = durian.jobs.wait(job.id, lambda event: seen.append(event.message))
    assert job.status == "succeeded"
    assert len(seen) >= 5
    return str(job.fine_tuned_model)


def test_predictions_name_the_version_that_answered(durian: Client, model: str) -> None:
    answer = durian.predict(model, ["my money back", "the parcel is late"])
    assert [row.label for row in answer.data] == ["refund", "delivery"]
    assert answer.digest == durian.models.retrieve(model).digest


def test_examples_in_model_out_with_pictures(durian: Client) -> None:
    examples = [(png(level, i), name) for name, level in (("dark", 40), ("bright", 210)) for i in range(4)]
    grown = durian.models.add_examples("pictures", examples, wait=60)
    assert grown.model is not None
    assert durian.predict("pictures", [png(50, 77)]).data[0].label == "dark"


async def _both(url: str, model: str) -> list[object]:
    async with AsyncClient(url) as client:
        answer = await client.predict(model, "my money back")
        return [answer.data[0].label, (await client.models.retrieve(model)).id]


def test_the_async_client_says_the_same(url: str, model: str) -> None:
    import asyncio

    assert asyncio.run(_both(url, model)) == ["refund", "own"]


def test_an_error_has_its_code_and_request_id(durian: Client) -> None:
    with pytest.raises(ApiError) as refused:
        durian.models.retrieve("none")
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    assert refused.value.request_id


def test_tritonclient_with_its_defaults(url: str, model: str, durian: Client) -> None:
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_model_ready(model)
    texts = np.array(["my money back", "the parcel is late"], dtype=object)
    tensor = triton.InferInput("text", [2], "BYTES")
    tensor.set_data_from_numpy(texts)
    result = client.infer(model, [tensor])
    labels = [label.decode() for label in result.as_numpy("label").tolist()]
    assert labels == [row.label for row in durian.predict(model, texts.tolist()).data]
    np.testing.assert_allclose(result.as_numpy("scores").sum(axis=1), 1, atol=1e-4)
    client.close()
