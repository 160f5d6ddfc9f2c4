"""What tests of the whole service share: waiting for jobs, and small inputs of every kind."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

Job = dict[str, Any]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def finished(client: TestClient, job: Job) -> Job:
    deadline = time.monotonic() + 60
    while job["status"] not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
        job = client.get(f"/v1/fine_tuning/jobs/{job['id']}").json()
    return job


TEXTS = [
    {"input": f"{opening} {thing}{closing}", "label": label}
    for label, thing in (("refund", "my money back"), ("delivery", "the parcel that is late"))
    for opening in ("I want to ask about", "please tell me about", "help with")
    for closing in (".", ", please", " today")
]


def png(level: int, seed: int = 0, size: tuple[int, int] = (24, 20)) -> bytes:
    """A noisy grey picture of about the given brightness."""
    noise = np.random.default_rng([level, seed]).integers(-20, 20, (*size, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def signal(kind: int, seed: int, length: int = 50) -> list[float]:
    """A slow (0) or fast (1) wave with noise."""
    x = np.linspace(0, 1, length)
    noise = np.random.default_rng([kind, seed]).normal(0, 0.1, length)
    return [float(v) for v in np.sin((4 + 10 * kind) * x + seed) + noise]
