"""The whole service on a real GPU. Skipped without one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from app.client import Client, ClientError
from app.client.retry import Retry
from app.demo.service import temporary_service
from tests.benchmarks.examples import digits, texts
from tests.benchmarks.service import MINILM, accuracy, fit, upload

pytestmark = pytest.mark.gpu
NEVER = Retry(attempts=0)
_POISONER = """
import os, threading, time

def wait():
    while not os.path.exists(os.environ["POISON"]):
        time.sleep(0.05)
    if "/libcudart.so" in open("/proc/self/maps").read():
        from tests.gpu.poison import poison
        os.rename(os.environ["POISON"], os.environ["POISON"] + ".taken")
        poison()

if os.environ.get("POISON"):
    threading.Thread(target=wait, daemon=True).start()
"""


def device(client: Client) -> str:
    lines = client.driver.http.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith("durian_device{"))


@pytest.mark.parametrize(("backbone", "examples"), [(MINILM, texts()), ("image/durian-small", digits())])
def test_jobs_are_published_and_served(cuda: tuple[str, ...], backbone: str, examples) -> None:
    chosen, rest = examples.split(5, seed=0)
    with temporary_service() as client:
        model = fit(client, upload(client, chosen), "on-gpu", model=backbone).fine_tuned_model
        assert accuracy(client, str(model), rest.take(range(100))) > 60
        assert 'device="cuda"' in device(client)


def test_the_engine_comes_back_with_a_new_context(cuda: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_POISONER)
    path = os.pathsep.join([str(tmp_path), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    mark = tmp_path / "now"
    settings = {"PYTHONPATH": path, "POISON": str(mark)}
    with (
        temporary_service(settings=settings, arguments=["--workers", "2"]) as patient,
        Client(str(patient.driver.http.base_url), key="none", retry=NEVER, timeout=10.0) as client,
    ):
        before = _embedded(client)
        mark.touch()
        failures, deadline = 0, time.monotonic() + 60
        while not (tmp_path / "now.taken").exists() or not failures:
            failures += _embedded(client) is None
            assert time.monotonic() < deadline, "nothing failed"
        while (after := _embedded(client)) is None:
            assert time.monotonic() < deadline, "it did not come back"
            time.sleep(0.1)
        np.testing.assert_allclose(after, before, atol=1e-5)


def _embedded(client: Client) -> list[float] | None:
    """None while it cannot be had."""
    try:
        return list(client.embeddings(MINILM, ["where is my parcel"]).data[0].embedding)
    except ClientError:
        return None
