"""Models change under load: every answer is one version's, whole, and is named after it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest

from app.engine.model import LoadedModel, Prediction
from tests.oip_service import TENANT, OipService
from tests.trunks import DIMS, affine_onnx, card, manifest

SWAPS = 120
CLIENTS = 4


@cache
def version(number: int) -> LoadedModel:
    """A model whose every answer is its number."""
    made_for = manifest(card(), 1, task="regression").model_copy(update={"seed": number})
    weight, bias = np.zeros((1, DIMS["top"]), np.float32), np.array([number], np.float32)
    return LoadedModel.load(made_for, number, affine_onnx(weight, bias, "identity"))


def swap(service: OipService, number: int) -> None:
    """Publish a version, make it live, and delete the one before the last."""
    service.catalogue.put_version(TENANT, "count", number, lambda: version(number))
    service.catalogue.set_alias(TENANT, "count", "live", number)
    if number > 2:
        service.catalogue.remove_version(TENANT, "count", number - 2)


@dataclass
class Load:
    """Clients that ask the swapped model, and a neighbour, in every way there is; and what they saw."""

    service: OipService
    statuses: Counter[int] = field(default_factory=Counter)
    versions: set[int] = field(default_factory=set)
    wrong: list[Any] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def on(self) -> Iterator[None]:
        neighbour = self._neighbour(self.service.client)
        with ThreadPoolExecutor(CLIENTS) as pool:
            runs = [pool.submit(self._client, neighbour) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self.stop.set()
        for run in runs:
            run.result()

    def _client(self, neighbour: Any) -> None:
        with httpx.Client(base_url=self.service.client.base_url, timeout=20) as client:
            while not self.stop.is_set():
                self._v1(client)
                self._v2(client)
                if not np.allclose(self._neighbour(client), neighbour, atol=1e-6):
                    self.wrong.append("the neighbour's answers")

    def _v1(self, client: httpx.Client) -> None:
        url = client.base_url.join("/v1/predictions")
        answer = client.post(url, json={"model": "count", "input": ["a", "bb", "ccc"]})
        self.statuses[answer.status_code] += 1
        body = answer.json()
        self._check(body["version"], body["digest"], [row["value"] for row in body["data"]])

    def _v2(self, client: httpx.Client) -> None:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "bb"]}
        answer = client.post("/models/count/infer", json={"inputs": [tensor]})
        self.statuses[answer.status_code] += 1
        body = answer.json()
        self._check(int(body["model_version"]), body["parameters"]["digest"], body["outputs"][0]["data"])

    def _check(self, number: int, digest: str, values: list[float]) -> None:
        self.versions.add(number)
        if set(values) != {number} or digest != version(number).digest:
            self.wrong.append((number, values))

    def _neighbour(self, client: httpx.Client) -> Any:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["my red bike"]}
        answer = client.post("/models/colours/infer", json={"inputs": [tensor]})
        return answer.json()["outputs"][1]["data"]


def under_load(service: OipService) -> Load:
    swap(service, 1)
    load = Load(service)
    with load.on():
        for number in range(2, SWAPS):
            swap(service, number)
            time.sleep(0.01)
    return load


def test_every_answer_is_one_versions_and_named_after_it(oip_service: OipService) -> None:
    load = under_load(oip_service)
    assert load.wrong == []
    assert set(load.statuses) == {200}
    assert len(load.versions) > 10, "too few versions were seen for this to mean anything"


def test_an_engine_that_looks_the_model_up_late_is_caught(oip_service: OipService) -> None:
    """The seeded fault: the newest version answers for the one that was named."""
    answer = oip_service.engine.predict

    async def late(model: LoadedModel, *asked: Any, **options: Any) -> Prediction:
        await asyncio.sleep(0.005)
        if model.manifest.task == "regression":
            model = oip_service.catalogue.resolve(TENANT, "count")
        return await answer(model, *asked, **options)

    oip_service.engine.predict = late  # type: ignore[method-assign]
    assert under_load(oip_service).wrong


def test_a_version_that_is_half_of_another_is_caught(
    oip_service: OipService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeded fault: rows of one request answered by two versions."""
    from app.engine import heads as module

    apply = module.apply_affine

    def mixed(features: Any, heads: Any) -> Any:
        numbers = [n for n in range(2, SWAPS) if any(head is version(n).head for head in heads)]
        last = version(numbers[0] - 1).head if numbers else heads[-1]
        return apply(features, [*heads[:-1], last])

    monkeypatch.setattr(module, "apply_affine", mixed)
    assert under_load(oip_service).wrong
