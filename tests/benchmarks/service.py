"""What benchmarks ask of a running service, and what they read of its processes."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from app.client import Client
from app.client.results import Job
from tests.benchmarks.examples import Examples
from tests.benchmarks.registry import Broken

MINILM = "text/minilm-l6"
_CHUNK = 128
_WAIT_SECONDS = 300.0
_SERVE = {"app", "serve"}


def upload(client: Client, examples: Examples) -> str:
    """The id of the file."""
    file = client.files.create(examples.jsonl(), filename="examples.jsonl", modality=examples.modality)
    return file.id


def fit(
    client: Client, file: str, suffix: str, *, model: str = MINILM, method: str = "auto", seed: int = 0
) -> Job:
    """Run a job to its end. Raises Broken unless it succeeds."""
    job = client.jobs.create(model, file, suffix=suffix, method=method, seed=seed, wait=_WAIT_SECONDS)
    return succeeded(job)


def succeeded(job: Job) -> Job:
    """The job. Raises Broken unless it succeeded."""
    if job.status != "succeeded":
        reason = job.error.message if job.error else f"after {_WAIT_SECONDS:.0f} s"
        raise Broken(f"A job is {job.status}: {reason}")
    return job


def accuracy(client: Client, model: str, examples: Examples) -> float:
    """Share of right predictions, in per cent."""
    found: list[object] = []
    for start in range(0, len(examples), _CHUNK):
        answer = client.predict(model, examples.inputs[start : start + _CHUNK], top_k=1)
        found += [prediction.label for prediction in answer.data]
    return 100 * float(np.mean([x == y for x, y in zip(found, examples.labels, strict=True)]))


def embed(client: Client, texts: Sequence[str]) -> NDArray[np.float32]:
    """MiniLM embeddings [n, 384], fetched as base64."""
    rows = []
    for start in range(0, len(texts), _CHUNK):
        answer = client.embeddings(MINILM, texts[start : start + _CHUNK], encoding_format="base64")
        rows += [np.frombuffer(b64decode(str(item.embedding)), "<f4") for item in answer.data]
    return np.stack(rows)


def processes() -> list[psutil.Process]:
    """The service that this process has started and its children, the service first; not what else was
    started, such as other servers. Raises Broken where there is none, or more than one."""
    found = [child for child in psutil.Process().children() if set(child.cmdline()) >= _SERVE]
    if len(found) != 1:
        raise Broken(f"{len(found)} services are running, not one.")
    return [*found, *found[0].children(recursive=True)]


def cpu_seconds(tree: Sequence[psutil.Process]) -> float:
    """What these processes have used, user and system."""
    return sum(sum(process.cpu_times()[:2]) for process in tree)


def spread(values: Sequence[float], digits: int = 1, unit: str = "") -> str:
    """`5 runs, 1.2 to 1.9 s`."""
    ends = f"{min(values):,.{digits}f} to {max(values):,.{digits}f} {unit}".strip()
    return f"{len(values)} run{'s' * (len(values) > 1)}, {ends}"


def megabytes(process: psutil.Process, file: str, field: str) -> float:
    """A `Field: 123 kB` of /proc, in 10^6 bytes."""
    content = Path(f"/proc/{process.pid}/{file}").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", content, re.MULTILINE)
    if found is None:
        raise Broken(f"This system does not tell {field} of a process.")
    return int(found[1]) * 1024 / 1e6
