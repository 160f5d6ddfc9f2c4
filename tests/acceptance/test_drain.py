"""SIGTERM under load: first not ready, then the end, and no answer is cut (RELIABILITY row F14)."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.acceptance.test_workers import PREDICTION, Running, fit, running
from tests.support import signal as wave

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Balanced(threading.Thread):
    """A client behind a load balancer: it sends nothing more once readiness says no."""

    def __init__(self, service: Running) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.seen: Counter[int] = Counter()
        self.cut: list[str] = []
        self.told = False

    def run(self) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self.told:
                try:
                    answer = client.post(f"{self.service.url}/v1/predictions", json=PREDICTION)
                    self.seen[answer.status_code] += 1
                    ready = client.get(f"{self.service.url}/v2/health/ready")
                except httpx.HTTPError as error:
                    self.cut.append(repr(error))
                    return
                self.told = ready.status_code == 503 and ready.json()["degraded"] == ["stopping"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.nightly)])
def test_no_answer_is_cut(tmp_path: Path, workers: int) -> None:
    with running(tmp_path, workers) as service:
        rows = [{"input": wave(kind, seed), "label": str(kind)} for kind in (0, 1) for seed in range(6)]
        fit(service, "m", "signal/raw", rows)
        clients = [Balanced(service) for _ in range(6)]
        for client in clients:
            client.start()
        while min(sum(client.seen.values()) for client in clients) < 5:
            time.sleep(0.02)
        started = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(25)
        seconds = time.monotonic() - started
        for client in clients:
            client.join(30)
    assert [client.cut for client in clients] == [[]] * 6
    assert {status for client in clients for status in client.seen} == {200}
    assert all(client.told for client in clients)
    assert 3.0 <= seconds <= 25.0
