"""Builds the images, starts both with PostgreSQL and a bucket, runs the demo on them; rows of what it saw."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from app.client import Client
from tests.benchmarks.results import Row
from tests.buckets import s3, settings_of
from tests.image.buildah import Buildah, size
from tests.image.part import DRAIN_SECONDS, Part
from tests.ports import free_port
from tests.postgres import new_database, postgres
from tests.support import jsonl
from tests.support import signal as wave

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("api", "worker")
MOST_API_MB = 1_200.0


def check(buildah: Buildah, variant: str) -> Iterator[Row]:
    """Sizes, starts and drains. Raises Broken or AssertionError where an image is not as it should be."""
    buildah.make_base()
    images = {target: buildah.build(target, variant, ROOT) for target in TARGETS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="durian-image-")))
        folder.chmod(0o755)
        containers = {name: stack.enter_context(buildah.container(image)) for name, image in images.items()}
        yield from _sizes(buildah, containers, variant)
        settings = stack.enter_context(_surroundings(folder))
        parts = {
            name: Part(buildah, container, folder / f"{name}.log", settings)
            for name, container in containers.items()
        }
        try:
            yield from _run(parts, stack)
        except Exception:
            for name, part in parts.items():
                print(f"{name}: {part.told()}", file=sys.stderr)
            raise
        for name, part in parts.items():
            assert (left := part.written()) == [], f"{name} wrote outside its volume: {left}"


def _sizes(buildah: Buildah, containers: Mapping[str, str], variant: str) -> Iterator[Row]:
    for name, container in containers.items():
        with buildah.mounted(container) as root:
            with_torch = any(root.glob("opt/durian/lib/python3*/site-packages/torch"))
            assert with_torch == (name == "worker")
            most = MOST_API_MB if (name, variant) == ("api", "cpu") else None
            how = f"files, unpacked; of them {size(root / 'opt') / 1e6:,.0f} MB in /opt, the rest is the base"
            megabytes = size(root) / 1e6
            yield Row(what=f"{name}, {variant}", value=megabytes, unit="MB", digits=0, at_most=most, how=how)


@contextmanager
def _surroundings(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL, a bucket and the pepper: what both containers are told."""
    with postgres() as (server, place), s3() as address:
        place.chmod(0o755)
        pepper = folder / "pepper"
        pepper.write_text("of the test")
        pepper.chmod(0o444)
        told = {
            "database": new_database(server),
            **settings_of(address),
            "auth": "keys",
            "pepper": str(pepper),
        }
        yield {f"DURIAN_{name.upper()}": value for name, value in told.items()}


def _run(parts: Mapping[str, Part], stack: ExitStack) -> Iterator[Row]:
    api, worker = parts["api"], parts["worker"]
    key = api.do("durian", "keys", "create", "--tenant", "default", "--role", "admin").split()[-1]
    assert key.startswith("dk_"), key
    url = f"http://127.0.0.1:{free_port()}"
    command = ("durian", "serve", "--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--no-worker")
    stack.callback(api.stop)
    yield _start("api", api.start(lambda: _ready(url), *command), "container started to ready")
    api.do("python", "-m", "app.health", "api", url.partition("//")[2])
    stack.callback(worker.stop)
    seen = worker.start(lambda: worker.sees("/data/worker.beat"), "durian", "worker")
    yield _start("worker", seen, "container started to its first sign of life")
    worker.do("python", "-m", "app.health", "worker")
    environment = {**os.environ, "DURIAN_API_KEY": key}
    demo = [sys.executable, "-m", "app", "demo", "--url", url]
    subprocess.run(demo, check=True, cwd=ROOT, env=environment, stdout=sys.stderr)
    with Client(url, key=key) as client:
        _train_with_torch(client)
    for name, part in parts.items():
        how = "SIGTERM to the end of the process"
        yield Row(what=f"{name}, drain", value=part.stop(), unit="s", at_most=DRAIN_SECONDS, how=how)


def _start(name: str, seconds: float, how: str) -> Row:
    return Row(what=f"{name}, start", value=seconds, unit="s", how=f"{how}; the schema was there")


def _train_with_torch(client: Client) -> None:
    """The service has no torch; it offers what its worker has."""
    rows = [{"input": wave(i % 2, i), "label": f"class {i % 2}"} for i in range(24)]
    file = client.files.create(jsonl(rows), filename="s.jsonl")
    job = client.jobs.create("signal/durian-small", file.id, suffix="deep", method="finetune")
    job = client.jobs.wait(job.id)
    assert job.status == "succeeded", job


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
